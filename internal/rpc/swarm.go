package rpc

import (
	"context"
	"fmt"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A swarmPeer is a connection, as Kubo tells of it.
type swarmPeer struct {
	Addr      string `json:",omitempty"`
	Peer      string `json:",omitempty"`
	Latency   string `json:",omitempty"`
	Direction int    `json:",omitempty"` // 1 inbound, 2 outbound
	Identify  idShape
}

func (c *call) swarmPeers() error {
	latency, identify := c.flag("latency", false), c.flag("identify", false)
	direction := c.flag("direction", false)
	if verbose := c.flag("verbose", false); verbose {
		latency, direction = true, true
	}
	if c.bad != nil {
		return c.bad
	}
	all, err := c.node.Peers(c.ctx)
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
	return c.value(shape)
}

type stringsShape struct{ Strings []string }

func (c *call) swarmConnect() error {
	var shape stringsShape
	for _, addr := range c.args {
		id, err := c.node.Connect(c.ctx, addr)
		if err != nil {
			return err
		}
		shape.Strings = append(shape.Strings, "connect "+id.String()+" success")
	}
	return c.value(shape)
}

// Connect makes the daemon connect to a peer.
func (c *Client) Connect(ctx context.Context, addr string) (peer.ID, error) {
	var shape stringsShape
	if err := c.call(ctx, request{verb: "swarm/connect", args: []string{addr}}, &shape); err != nil {
		return "", err
	}
	for _, s := range shape.Strings {
		if words := strings.Fields(s); len(words) == 3 {
			return peer.Decode(words[1])
		}
	}
	return "", fmt.Errorf("swarm/connect: the daemon answered something else")
}

// peerOf reads a peer's id, alone or at the end of an address.
func peerOf(s string) (peer.ID, error) {
	if at := strings.LastIndex(s, "/p2p/"); at >= 0 { // before it there may be a relay's
		s = strings.Trim(s[at+len("/p2p/"):], "/")
	}
	id, err := peer.Decode(s)
	if err != nil {
		return "", taggedError{badRequest("%.100q is no id of a peer: %w", s, err), cairn.ErrAddress}
	}
	return id, nil
}

func (c *call) swarmDisconnect() error {
	var shape stringsShape
	for _, arg := range c.args {
		id, err := peerOf(arg)
		if err == nil {
			err = c.node.Disconnect(c.ctx, id)
		}
		if err != nil {
			return err
		}
		shape.Strings = append(shape.Strings, "disconnect "+id.String()+" success")
	}
	return c.value(shape)
}

// Disconnect makes the daemon close its connections to a peer.
func (c *Client) Disconnect(ctx context.Context, id peer.ID) error {
	return c.call(ctx, request{verb: "swarm/disconnect", args: []string{id.String()}}, nil)
}

// swarmAddrs lists the addresses of peers that are known.
func (c *call) swarmAddrs() error {
	all, err := c.node.Peers(c.ctx)
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
	return c.value(shape)
}

// swarmAddrsLocal lists the node's own addresses.
func (c *call) swarmAddrsLocal() error {
	withID := c.flag("id", false)
	if c.bad != nil {
		return c.bad
	}
	addrs, err := c.node.Addrs(c.ctx)
	if err != nil {
		return err
	}
	shape := stringsShape{[]string{}}
	for _, a := range addrs {
		s := a.String()
		if at := strings.LastIndex(s, "/p2p/"); at >= 0 && !withID {
			s = s[:at] // before it there may be a relay's
		}
		shape.Strings = append(shape.Strings, s)
	}
	return c.value(shape)
}
