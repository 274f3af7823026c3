package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// An Identity is what a node, or a peer, says of itself.
type Identity struct {
	ID        peer.ID
	Addrs     []string // with the id
	Agent     string
	Protocols []string
}

// IdentityOf tells who a node is. Offline it has an id, and nothing more.
func IdentityOf(ctx context.Context, n *cairn.Node, agent string) (Identity, error) {
	id, err := n.ID(ctx)
	if err != nil {
		return Identity{}, err
	}
	me := Identity{ID: id, Agent: agent}
	addrs, err := n.Addrs(ctx)
	if err == nil {
		me.Protocols, err = n.Protocols(ctx)
	}
	for _, a := range addrs {
		me.Addrs = append(me.Addrs, a.String())
	}
	if errors.Is(err, cairn.ErrOffline) {
		err = nil
	}
	return me, err
}

// An idShape is Kubo's.
type idShape struct {
	ID           string
	PublicKey    string
	Addresses    []string
	AgentVersion string
	Protocols    []string
}

func (c *call) id() error {
	if len(c.args) > 0 {
		id, err := peer.Decode(c.args[0])
		if err != nil {
			return badRequest("%.100q is no id of a peer: %w", c.args[0], err)
		}
		return c.peerID(id)
	}
	me, err := IdentityOf(c.ctx, c.node, c.server.config.agent())
	if err != nil {
		return err
	}
	return c.value(idShape{me.ID.String(), publicKey(me.ID), me.Addrs, me.Agent, me.Protocols})
}

func (c Config) agent() string { return "cairn/" + c.Version }

// peerID tells of a connected peer.
func (c *call) peerID(id peer.ID) error {
	if me, err := c.node.ID(c.ctx); err == nil && me == id {
		c.args = nil
		return c.id()
	}
	all, err := c.node.Peers(c.ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.ID == id {
			shape := idShape{id.String(), publicKey(id), nil, p.Agent, p.Protocols}
			for _, a := range p.Known {
				shape.Addresses = append(shape.Addresses, a.String()+"/p2p/"+id.String())
			}
			return c.value(shape)
		}
	}
	return fmt.Errorf("there is no connection to %s", id)
}

// publicKey is the key that an id holds; empty for an old kind of ids, which
// hold but a hash of it.
func publicKey(id peer.ID) string {
	key, err := id.ExtractPublicKey()
	if err != nil {
		return ""
	}
	data, err := crypto.MarshalPublicKey(key)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(data)
}

// Identity tells who the daemon is.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	var shape idShape
	if err := c.call(ctx, request{verb: "id"}, &shape); err != nil {
		return Identity{}, err
	}
	id, err := peer.Decode(shape.ID)
	if err != nil {
		return Identity{}, fmt.Errorf("id: read the daemon's answer: %w", err)
	}
	return Identity{id, shape.Addresses, shape.AgentVersion, shape.Protocols}, nil
}
