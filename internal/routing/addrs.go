package routing

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxAddrs bounds the addresses of one peer: nodes announce about ten, and
	// each is something that may be dialled.
	maxAddrs = 16

	// maxAddr bounds one address, in bytes: the longest in use have two
	// certificate hashes and a relay, some 250.
	maxAddr = 512
)

// validID tells whether an id is one: a multihash, of a bounded length.
// peer.ID.Validate takes anything that isn't empty, and so does the DHT.
func validID(id peer.ID) bool {
	_, err := peer.IDFromBytes([]byte(id))
	return err == nil && len(id) <= maxPeerID
}

// A scope says which addresses a source may get us to dial.
type scope int

const (
	scopePublic scope = iota // those of the internet
	scopeNear                // also private ones, but not our own machine
	scopeAny                 // all
)

func (s scope) allows(a ma.Multiaddr) bool {
	if len(a) == 0 || len(a.Bytes()) > maxAddr || hasPortZero(a) {
		return false
	}
	if s == scopePublic {
		return manet.IsPublicAddr(a)
	}
	ip, err := manet.ToIP(a)
	if err != nil { // a name, or the way through a relay
		return true
	}
	return !ip.IsUnspecified() && !ip.IsMulticast() && (s == scopeAny || !ip.IsLoopback())
}

func hasPortZero(a ma.Multiaddr) bool {
	return slices.ContainsFunc(a, func(c ma.Component) bool {
		code := c.Protocol().Code
		return (code == ma.P_TCP || code == ma.P_UDP) && c.Value() == "0"
	})
}

// filter returns the addresses that are allowed, as they are.
func (s scope) filter(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, s.allows)
}

// clean returns those of a peer's addresses that are allowed, each once,
// without its id at the end. An address of another peer is none.
func (s scope) clean(id peer.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	var clean []ma.Multiaddr
	for _, a := range addrs {
		if len(clean) == maxAddrs {
			break
		}
		if len(a) == 0 {
			continue
		}
		at, of := peer.SplitAddr(a)
		if (of != "" && of != id) || !s.allows(at) || slices.ContainsFunc(clean, at.Equal) {
			continue
		}
		clean = append(clean, at)
	}
	return clean
}
