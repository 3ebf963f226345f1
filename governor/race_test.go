//go:build race

package governor

// raceOn: the race detector makes everything ten times slower.
const raceOn = true
