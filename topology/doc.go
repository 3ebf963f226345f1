// Package topology says where addresses come from: topology files, peer snapshots, the ledger and the DNS.
//
// It reads and checks the topology files of cardano-node (the P2P format, its two retired drafts and the older Producers
// format), compares two of them, notices when a file changes, resolves the names in it, and picks ledger peers by stake.
//
//   - [Parse] and [ReadFile] turn a file into a [Topology] and a list of every [Problem] in it, each with line, column and
//     JSON pointer (governor §8). Strict reading refuses what is most likely a mistake; Options.Lenient accepts exactly what
//     cardano-node accepts.
//   - [Diff] says what a change from one topology to another connects, drops, changes and keeps.
//   - [Watcher] reloads a file when its content changes or when it is told to; a bad new file never replaces a good one.
//   - [Normalise], [ClampToLimit] and [ClampToTrustable] are the rules for local-root groups (governor §2).
//   - [Provider] answers the governor's questions for local roots, public roots, bootstrap peers and ledger peers
//     (governor §6 and §7). It resolves names through a [Resolver]; the package topology/dns has one with real TTLs.
//   - [Selection] draws ledger peers by the square root of their stake and big ledger peers by their stake (governor §6.1).
//   - [ParseSnapshot], [DecodeSnapshot] and the methods of [Snapshot] read and write peer snapshots as JSON (versions 1, 2
//     and 23) and as CBOR (governor §6.3).
//
// Decision makers here are pure: the parser, the diff, the group rules, the name table, the reload rules and the selection
// have no clock, no goroutine and no global randomness. [Provider] and [Watcher] are the thin shells around them: a provider
// owns its goroutines and Close waits for them, a watcher runs on the goroutine that calls Run.
//
// Everything read from outside is bounded: a file has at most [MaxInput] bytes, a report at most [MaxProblems] problems and
// one line that counts the rest, and reading needs at most 1 MiB plus 64 bytes of memory for each byte of input.
package topology
