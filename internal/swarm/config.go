package swarm

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// A Config configures a Swarm. The zero Config is a public node with a new
// identity that listens on port 4001.
type Config struct {
	// Identity is the node's private key. nil: a new Ed25519 key.
	Identity crypto.PrivKey

	// Listen lists the multiaddrs to listen on. nil: TCP, QUIC, WebTransport and
	// WebSocket on port 4001 of all interfaces (with a PSK, TCP only). Empty and
	// not nil: none.
	Listen []string

	// PSK is the pre-shared key of a private network, 32 bytes. Only peers that
	// have it can connect, over TCP or WebSocket. nil: the public network.
	PSK []byte

	// Connections bounds the open connections. Above two thirds of it, the least
	// useful are closed from time to time. 0: 96, which a home router bears.
	Connections int

	// Local switches off what serves the world outside: UPnP, relays, hole
	// punching, AutoNAT, learning our address from peers.
	Local bool

	// MDNS finds peers in the local network and connects to them, and announces
	// this node there.
	MDNS bool

	// UserAgent is the name of the program that peers see. "": "cairn".
	UserAgent string

	// State keeps the address book. nil: it is lost on Close.
	State rows.Store

	// Redial is the wait before a lost protected peer is dialled again; it doubles
	// with each failure, up to ten minutes. 0: one second.
	Redial time.Duration

	// Logger logs what fails in the background. nil: silent.
	Logger *slog.Logger

	// noPortMap switches off UPnP, which asks all of the local network.
	noPortMap bool

	// relaysEvery is the interval at which AutoRelay may ask for relays again. 0:
	// defaultRelaysEvery.
	relaysEvery time.Duration

	// simulated makes the host's network a simulated one.
	simulated libp2p.Option
}

const (
	// defaultConnections: cheap routers keep state for about a thousand
	// connections of the whole household, and slow down well before.
	defaultConnections = 96

	// defaultPort is the port of IPFS nodes.
	defaultPort = 4001

	defaultRedial = time.Second

	// pskSize is the length of a pre-shared key (specs: private networks).
	pskSize = 32
)

// ErrClosed means that the swarm was closed.
var ErrClosed = errors.New("swarm is closed")

// withDefaults returns the config with zero fields set, or an error if it is
// invalid.
func (c Config) withDefaults() (Config, error) {
	if c.Identity == nil {
		key, err := NewKey()
		if err != nil {
			return c, err
		}
		c.Identity = key
	}
	if n := len(c.PSK); n != 0 && n != pskSize {
		return c, fmt.Errorf("swarm: invalid pre-shared key of %d bytes: want %d", n, pskSize)
	}
	if c.Connections < 0 {
		return c, fmt.Errorf("swarm: invalid limit of %d connections: want at least 1", c.Connections)
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
		c.relaysEvery = defaultRelaysEvery
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// defaultListen returns the addresses to listen on by default.
func defaultListen(private bool) []string {
	var all []string
	for _, ip := range []string{"/ip4/0.0.0.0", "/ip6/::"} {
		all = append(all, fmt.Sprintf("%s/tcp/%d", ip, defaultPort))
		if private {
			continue // with a PSK, TCP and WebSocket can't share a port
		}
		all = append(all,
			fmt.Sprintf("%s/tcp/%d/ws", ip, defaultPort),
			fmt.Sprintf("%s/udp/%d/quic-v1", ip, defaultPort),
			fmt.Sprintf("%s/udp/%d/quic-v1/webtransport", ip, defaultPort))
	}
	return all
}
