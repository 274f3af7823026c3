package kubo

import (
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A swarmPeer is a connection to a peer.
type swarmPeer struct {
	Addr      string `json:",omitempty"`
	Peer      string `json:",omitempty"`
	Latency   string `json:",omitempty"`
	Direction int    `json:",omitempty"` // 1 inbound, 2 outbound
	Identify  idShape
}

func (c *call) swarmPeers() error {
	latency, identify := c.Flag("latency", false), c.Flag("identify", false)
	direction := c.Flag("direction", false)
	if verbose := c.Flag("verbose", false); verbose {
		latency, direction = true, true
	}
	if c.Invalid() != nil {
		return c.Invalid()
	}
	all, err := c.node.Peers(c.Context())
	if err != nil {
		return err
	}
	shape := struct{ Peers []swarmPeer }{[]swarmPeer{}}
	for _, p := range all {
		if !p.Connected {
			continue
		}
		one := swarmPeer{Peer: p.ID.String()}
		if p.Addr != nil {
			one.Addr = p.Addr.String()
		}
		if latency {
			one.Latency = "n/a"
			if p.RTT > 0 {
				one.Latency = p.RTT.String()
			}
		}
		if direction {
			one.Direction = 2
			if p.Inbound {
				one.Direction = 1
			}
		}
		if identify {
			one.Identify = idShape{ID: p.ID.String(), PublicKey: publicKey(p.ID), AgentVersion: p.Agent, Protocols: p.Protocols}
		}
		shape.Peers = append(shape.Peers, one)
	}
	return c.Value(shape)
}

type stringsShape struct{ Strings []string }

func (c *call) swarmConnect() error {
	var shape stringsShape
	for _, addr := range c.Args {
		id, err := c.node.Connect(c.Context(), addr)
		if err != nil {
			return err
		}
		shape.Strings = append(shape.Strings, "connect "+id.String()+" success")
	}
	return c.Value(shape)
}

// parsePeer parses a peer's id, alone or at the end of an address.
func parsePeer(s string) (peer.ID, error) {
	id, err := cairn.ParsePeerID(s)
	if err != nil {
		return "", httpapi.BadRequest("%w", err)
	}
	return id, nil
}

func addrStrings(addrs []multiaddr.Multiaddr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

func (c *call) swarmDisconnect() error {
	var shape stringsShape
	for _, arg := range c.Args {
		id, err := parsePeer(arg)
		if err == nil {
			err = c.node.Disconnect(c.Context(), id)
		}
		if err != nil {
			return err
		}
		shape.Strings = append(shape.Strings, "disconnect "+id.String()+" success")
	}
	return c.Value(shape)
}

// swarmAddrs lists the known addresses of peers.
func (c *call) swarmAddrs() error {
	all, err := c.node.Peers(c.Context())
	if err != nil {
		return err
	}
	shape := struct{ Addrs map[string][]string }{make(map[string][]string)}
	for _, p := range all {
		addrs := []string{}
		for _, a := range p.Known {
			addrs = append(addrs, a.String())
		}
		shape.Addrs[p.ID.String()] = addrs
	}
	return c.Value(shape)
}

// swarmAddrsLocal lists the node's own addresses.
func (c *call) swarmAddrsLocal() error {
	withID := c.Flag("id", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	addrs, err := c.node.Addrs(c.Context())
	if err != nil {
		return err
	}
	shape := stringsShape{[]string{}}
	for _, a := range addrs {
		s := a.String()
		if at := strings.LastIndex(s, "/p2p/"); at >= 0 && !withID {
			s = s[:at] // a relay's id may come before it
		}
		shape.Strings = append(shape.Strings, s)
	}
	return c.Value(shape)
}
