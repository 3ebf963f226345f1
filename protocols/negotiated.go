package protocols

// Negotiated is what the handshake of a connection has settled (wire §4.5).
type Negotiated struct {
	// Version is the node-to-node version (14 and up) or the node-to-client version without its marker bit (16 and up).
	Version uint16
	// NodeToClient says which of the two families Version belongs to.
	NodeToClient bool
	// Magic names the network.
	Magic uint32
	// InitiatorOnly: only the end that dialled runs initiators. Node-to-client connections always are.
	InitiatorOnly bool
	// PeerSharing: both ends take part in peer sharing.
	PeerSharing bool
	// Peras: both ends run the object diffusion protocols.
	Peras bool
	// Query: the connection was made to ask for the versions and ends.
	Query bool
}

// Duplex reports whether both ends may run initiators on the connection.
func (n Negotiated) Duplex() bool { return !n.InitiatorOnly && !n.NodeToClient }
