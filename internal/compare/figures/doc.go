// Package figures measures Hearth beside other implementations, in one process and in turns, round by round, so that whatever
// else the machine does hits all of them alike. Read its ratios rather than its rates.
//
// The peers run with their own defaults. Everything goes over loopback TCP between two ends in this process, so the processor time
// and the allocations are those of both ends together.
package figures
