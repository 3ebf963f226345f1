// Package tlsbearer makes TLS the bearer of a connection manager's connections, for private networks whose nodes know each other:
// mutual authentication by public key, against an allow-list. Cardano's own network speaks plain TCP.
//
// It is a package of its own so that nobody links crypto/tls who does not ask for it.
//
//	b, err := tlsbearer.New(tlsbearer.Config{Key: key, Allowed: tlsbearer.Keys(relay1, relay2)})
//	cfg.Bearer = b.Wrap // of a connmgr.Config
package tlsbearer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// KeyID names a public key: SHA-256 of its PKIX form.
type KeyID [32]byte

// String is the id in hexadecimal digits.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// IDOf returns the id of a public key (ed25519, ECDSA or RSA).
func IDOf(public crypto.PublicKey) (KeyID, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return KeyID{}, fmt.Errorf("tlsbearer: %w", err)
	}
	return sha256.Sum256(der), nil
}

// Keys is an allow-list of exactly these keys.
func Keys(ids ...KeyID) func(KeyID) bool {
	set := make(map[KeyID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return func(id KeyID) bool { return set[id] }
}

// Config of a [Bearer].
type Config struct {
	// Key is this node's private key. A self-signed certificate is made of it; nobody checks more of a certificate than its key.
	Key crypto.Signer
	// Allowed says whose connections are accepted and who may answer ours. Required. It may be called from several goroutines.
	Allowed func(KeyID) bool
	// Expect, if set, narrows Allowed for one remote: the key that must answer at an address that is dialled.
	Expect func(remote net.Addr) (KeyID, bool)
}

// Bearer wraps sockets in TLS 1.3 with mutual authentication.
type Bearer struct {
	cfg  Config
	id   KeyID
	cert tls.Certificate
}

// New checks the configuration and makes the certificate.
func New(cfg Config) (*Bearer, error) {
	if cfg.Key == nil || cfg.Allowed == nil {
		return nil, errors.New("tlsbearer: Config needs Key and Allowed")
	}
	id, err := IDOf(cfg.Key.Public())
	if err != nil {
		return nil, err
	}
	// The dates are as wide as they can be: the allow-list decides, not the calendar.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, cfg.Key.Public(), cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("tlsbearer: certificate: %w", err)
	}
	return &Bearer{cfg, id, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cfg.Key}}, nil
}

// GenerateKey makes an ed25519 key for [Config].
func GenerateKey() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// ID is the id of this node's own key, which goes into the others' allow-lists.
func (b *Bearer) ID() KeyID { return b.id }

// NotAllowedError: the other end has shown a key that is not on the list.
type NotAllowedError struct{ ID KeyID }

// Error names the key by its id, in hexadecimal digits.
func (e *NotAllowedError) Error() string {
	return fmt.Sprintf("tlsbearer: key %v is not allowed", e.ID)
}

// Fault is adversarial: whoever is not on the list has no business here.
func (e *NotAllowedError) Fault() string { return "adversarial" }

// Wrap runs the TLS handshake over a socket, within ctx, and returns the bearer to use instead. On error the socket is the caller's
// to close. The returned bearer has CloseWrite and SetLinger as the socket has them.
func (b *Bearer) Wrap(ctx context.Context, socket net.Conn, dialled bool) (net.Conn, error) {
	var refused error
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{b.cert},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // there is no authority and no name: VerifyConnection checks the key, which is the identity
		VerifyConnection: func(s tls.ConnectionState) error {
			refused = b.verify(s, socket.RemoteAddr(), dialled)
			return refused
		},
		SessionTicketsDisabled: true, // a ticket would be an identity that outlives its entry on the list
		NextProtos:             []string{"hearth/1"},
	}
	var conn *tls.Conn
	if dialled {
		conn = tls.Client(socket, cfg)
	} else {
		conn = tls.Server(socket, cfg)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		if refused != nil {
			return nil, refused
		}
		return nil, fmt.Errorf("tlsbearer: %w", err)
	}
	return &secured{conn, socket}, nil
}

func (b *Bearer) verify(s tls.ConnectionState, remote net.Addr, dialled bool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("tlsbearer: no certificate")
	}
	id := KeyID(sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo))
	if dialled && b.cfg.Expect != nil {
		if want, ok := b.cfg.Expect(remote); ok && want != id {
			return &NotAllowedError{id}
		}
	}
	if !b.cfg.Allowed(id) {
		return &NotAllowedError{id}
	}
	return nil
}

// PeerOf returns the key at the other end of a bearer that Wrap has made.
func PeerOf(bearer net.Conn) (KeyID, bool) {
	s, ok := bearer.(*secured)
	if !ok {
		return KeyID{}, false
	}
	return sha256.Sum256(s.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo), true
}

// secured is a TLS connection that still closes as its socket can.
type secured struct {
	*tls.Conn
	socket net.Conn
}

// SetLinger passes on to the socket where it can.
func (s *secured) SetLinger(sec int) error {
	if l, ok := s.socket.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(sec)
	}
	return errors.ErrUnsupported
}
