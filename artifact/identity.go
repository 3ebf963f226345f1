package artifact

import "bytes"

// KeepNew decides between two main bearers to the same peer (artifact §6.2, Identity): both ends keep the one that was dialled by
// the smaller nodeId, whichever is older, so both decide alike. Of two dialled by the same end the newer one replaces the older
// — a restart, or a connection half open — if the peer proves its id, or the new one comes from the same address, or nothing
// was read on the old one for 30 s (quiet): a mere claim must not throw out a living peer.
func KeepNew(self, peer PeerID, oldByUs, newByUs, authenticated, sameAddr, quiet bool) bool {
	if oldByUs == newByUs {
		return newByUs || authenticated || sameAddr || quiet
	}
	return newByUs == (bytes.Compare(self[:], peer[:]) < 0)
}
