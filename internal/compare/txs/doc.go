// Package txs runs Hearth's transaction, peer-sharing and node-to-client mini-protocols against gouroboros, both ways.
package txs
