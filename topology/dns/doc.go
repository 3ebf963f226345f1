// Package dns resolves the names of topologies and ledger relays with real life times (governor §6.4): A, AAAA and SRV over
// UDP with EDNS, over TCP when an answer is cut off. It is the only package of Hearth that links a DNS library; whoever can do
// without life times uses topology.SystemResolver.
package dns
