package swarm

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// A Config says what a Swarm is like. The zero Config is a public node with a
// new identity that listens on port 4001.
type Config struct {
	// Identity is the node's private key. nil: a new Ed25519 key.
	Identity crypto.PrivKey

	// Listen is where to listen, as multiaddrs. nil: TCP, QUIC, WebTransport
	// and WebSocket on port 4001 of all interfaces (with a PSK, TCP alone).
	// Empty and not nil: nowhere.
	Listen []string

	// PSK is the pre-shared key of a private network, 32 bytes: only who has
	// it can connect, over TCP or WebSocket. nil: the public network.
	PSK []byte

	// Connections is how many may be open at once. Above two thirds of it, the
	// least useful are closed now and then. 0: 96, which a home router bears.
	Connections int

	// Local leaves out what is for the world outside: UPnP, relays, hole
	// punching, AutoNAT, learning our address from peers.
	Local bool

	// MDNS finds peers in the local network, is found, and connects.
	MDNS bool

	// UserAgent is how the node introduces itself. "": "cairn".
	UserAgent string

	// Addresses keeps the address book. nil: it is lost on Close.
	Addresses AddressStore

	// Redial is how long to wait before a protected peer that went is dialled
	// again; the wait doubles with each failure, up to ten minutes. 0: one
	// second.
	Redial time.Duration

	// Logger is told what happens. nil: silent.
	Logger *slog.Logger

	// noPortMap leaves out UPnP, which asks all of the local network.
	noPortMap bool

	// relaysEvery is how often AutoRelay may ask for relays anew. 0:
	// standardRelaysEvery.
	relaysEvery time.Duration

	// simulated makes the host's network a simulated one.
	simulated libp2p.Option
}

const (
	// defaultConnections: cheap routers keep state for about a thousand
	// connections of the whole household, and slow down well before.
	defaultConnections = 96

	// defaultPort is the one that IPFS nodes use.
	defaultPort = 4001

	defaultRedial = time.Second

	// pskSize is the length of a pre-shared key (specs: private networks).
	pskSize = 32
)

// ErrClosed: the swarm was closed.
var ErrClosed = errors.New("swarm is closed")

// withDefaults returns the config with each zero replaced, or says what is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Identity == nil {
		key, err := NewKey()
		if err != nil {
			return c, err
		}
		c.Identity = key
	}
	if n := len(c.PSK); n != 0 && n != pskSize {
		return c, fmt.Errorf("swarm: the pre-shared key has %d bytes, want %d", n, pskSize)
	}
	if c.Connections < 0 {
		return c, fmt.Errorf("swarm: %d connections allowed, want at least 1", c.Connections)
	}
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	if c.UserAgent == "" {
		c.UserAgent = "cairn"
	}
	if c.Redial <= 0 {
		c.Redial = defaultRedial
	}
	if c.relaysEvery <= 0 {
		c.relaysEvery = standardRelaysEvery
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// defaultListen is where to listen if nothing was said.
func defaultListen(private bool) []string {
	var all []string
	for _, ip := range []string{"/ip4/0.0.0.0", "/ip6/::"} {
		all = append(all, fmt.Sprintf("%s/tcp/%d", ip, defaultPort))
		if private {
			continue // TCP and WebSocket can't share a port behind a key
		}
		all = append(all,
			fmt.Sprintf("%s/tcp/%d/ws", ip, defaultPort),
			fmt.Sprintf("%s/udp/%d/quic-v1", ip, defaultPort),
			fmt.Sprintf("%s/udp/%d/quic-v1/webtransport", ip, defaultPort))
	}
	return all
}
