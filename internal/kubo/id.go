package kubo

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// An idShape describes a peer.
type idShape struct {
	ID           string
	PublicKey    string
	Addresses    []string
	AgentVersion string
	Protocols    []string
}

func (c *call) id() error {
	if len(c.Args) > 0 {
		id, err := peer.Decode(c.Args[0])
		if err != nil {
			return httpapi.BadRequest("invalid peer id %.100q: %w", c.Args[0], err)
		}
		return c.showPeer(id)
	}
	id, err := c.node.ID(c.Context())
	if err != nil {
		return err
	}
	shape := idShape{ID: id.String(), PublicKey: publicKey(id), AgentVersion: c.config.agent()}
	addrs, err := c.node.Addrs(c.Context())
	if err == nil {
		shape.Protocols, err = c.node.Protocols(c.Context())
	}
	shape.Addresses = addrStrings(addrs)
	if errors.Is(err, cairn.ErrOffline) {
		err = nil
	}
	if err != nil {
		return err
	}
	return c.Value(shape)
}

// showPeer answers about a connected peer.
func (c *call) showPeer(id peer.ID) error {
	if me, err := c.node.ID(c.Context()); err == nil && me == id {
		c.Args = nil
		return c.id()
	}
	all, err := c.node.Peers(c.Context())
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.ID == id {
			shape := idShape{id.String(), publicKey(id), nil, p.Agent, p.Protocols}
			for _, a := range p.Known {
				shape.Addresses = append(shape.Addresses, a.String()+"/p2p/"+id.String())
			}
			return c.Value(shape)
		}
	}
	return fmt.Errorf("there is no connection to %s", id)
}

// publicKey returns the public key in an id. It is empty for ids of the old kind,
// which are hashes.
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
