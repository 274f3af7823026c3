package routing

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxAddrs bounds the addresses of one peer: nodes announce about ten, and
	// we may dial each.
	maxAddrs = 16

	// maxAddr bounds one address, in bytes: the longest in use have two
	// certificate hashes and a relay, some 250.
	maxAddr = 512
)

// validID reports whether an id is a multihash of a bounded length.
// peer.ID.Validate accepts anything that isn't empty, and so does the DHT.
func validID(id peer.ID) bool {
	_, err := peer.IDFromBytes([]byte(id))
	return err == nil && len(id) <= maxPeerID
}

// A scope limits the addresses that we accept from a source, and may dial.
type scope int

const (
	scopePublic scope = iota // addresses of the internet
	scopeNear                // private ones, too, but not this machine's
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
	if err != nil { // a name, or a path through a relay
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

// filter returns the addresses that are allowed, unchanged.
func (s scope) filter(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, s.allows)
}

// clean returns the allowed addresses of a peer, each once, without its id at
// the end. It drops addresses of other peers.
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
