package rpc

import (
	"context"
	"iter"
	"slices"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/multiformats/go-multibase"
)

// A keyShape is a key as Kubo tells of it, and what we say besides.
type keyShape struct {
	Name, Id  string
	Encrypted bool         `json:",omitempty"`
	Error     *errorDetail `json:",omitempty"` // the key's file can't be read
}

func (s keyShape) key() (cairn.Key, error) {
	k := cairn.Key{Name: s.Name, ID: s.Id, Encrypted: s.Encrypted}
	if s.Error != nil {
		return k, &Error{s.Error.Message, s.Error.Codes}
	}
	return k, nil
}

// A nameBase writes a name as the option ipns-base says.
type nameBase func(id string) string

func (c *call) nameBase() nameBase {
	base := c.text("ipns-base", "base36")
	var encoder multibase.Encoder
	if base != "b58mh" {
		var err error
		if encoder, err = multibase.EncoderByName(base); err != nil {
			c.complain("ipns-base", base, "base")
			return func(id string) string { return id }
		}
	}
	return func(id string) string {
		name, err := names.ParseName(id)
		if err != nil {
			return id // a domain
		}
		if base == "b58mh" {
			return name.Peer().String()
		}
		return name.CID().Encode(encoder)
	}
}

func (b nameBase) shape(k cairn.Key) keyShape {
	return keyShape{Name: k.Name, Id: b(k.ID), Encrypted: k.Encrypted}
}

func (c *call) keyGen() error {
	kind, base := c.text("type", "ed25519"), c.nameBase()
	switch {
	case c.bad != nil:
		return c.bad
	case kind != "ed25519":
		return badRequest("option type: %.64q: new keys are ed25519; others can be imported", kind)
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Generate(c.args[0])
	if err != nil {
		return err
	}
	return c.value(base.shape(k))
}

// GenerateKey makes a key at the daemon, as cairn.Keys.Generate does.
func (c *Client) GenerateKey(ctx context.Context, name string) (cairn.Key, error) {
	return c.key(ctx, request{verb: "key/gen", args: []string{name}})
}

func (c *Client) key(ctx context.Context, r request) (cairn.Key, error) {
	var shape keyShape
	if err := c.call(ctx, r, &shape); err != nil {
		return cairn.Key{}, err
	}
	return shape.key()
}

type keysShape struct{ Keys []keyShape }

func (c *call) keyList() error {
	base := c.nameBase()
	if c.bad != nil {
		return c.bad
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	all := keysShape{Keys: []keyShape{}}
	for k, err := range keys.List() {
		shape := base.shape(k)
		if err != nil {
			shape.Error = &errorDetail{err.Error(), codesOf(err)}
		}
		all.Keys = append(all.Keys, shape)
	}
	return c.value(all)
}

// Keys lists the daemon's keys, as cairn.Keys.List does.
func (c *Client) Keys(ctx context.Context) iter.Seq2[cairn.Key, error] {
	return func(yield func(cairn.Key, error) bool) {
		var all keysShape
		if err := c.call(ctx, request{verb: "key/list"}, &all); err != nil {
			yield(cairn.Key{}, err)
			return
		}
		for _, shape := range all.Keys {
			if !yield(shape.key()) {
				return
			}
		}
	}
}

func (c *call) keyRename() error {
	force, base := c.flag("force", false), c.nameBase()
	switch {
	case c.bad != nil:
		return c.bad
	case force:
		return badRequest("option force: a key is never written over; remove it first")
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Rename(c.args[0], c.args[1])
	if err != nil {
		return err
	}
	return c.value(struct {
		Was, Now, Id string
		Overwrite    bool
	}{c.args[0], k.Name, base(k.ID), false})
}

// RenameKey gives one of the daemon's keys another name, as cairn.Keys.Rename
// does.
func (c *Client) RenameKey(ctx context.Context, nameOrID, to string) (cairn.Key, error) {
	var shape struct{ Now, Id string }
	err := c.call(ctx, request{verb: "key/rename", args: []string{nameOrID, to}}, &shape)
	return cairn.Key{Name: shape.Now, ID: shape.Id}, err
}

// keyRm removes keys, if all of them are there.
func (c *call) keyRm() error {
	base, dryRun := c.nameBase(), c.flag("dry-run", false)
	if c.bad != nil {
		return c.bad
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	gone, err := RemoveKeys(keys, c.args, dryRun)
	if err != nil {
		return err
	}
	all := keysShape{Keys: []keyShape{}}
	for _, k := range gone {
		all.Keys = append(all.Keys, base.shape(k))
	}
	return c.value(all)
}

// RemoveKeys removes keys for good, and none if one of them isn't there or is
// the node's identity. With dryRun it only tells which.
func RemoveKeys(keys *cairn.Keys, all []string, dryRun bool) (gone []cairn.Key, err error) {
	for _, nameOrID := range all {
		k, err := keys.Info(nameOrID)
		if err == nil && k.Name == cairn.SelfKey {
			_, err = keys.Remove(k.Name) // which says why it stays
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(gone, k) {
			gone = append(gone, k)
		}
	}
	if dryRun {
		return gone, nil
	}
	for i, k := range gone {
		if _, err := keys.Remove(k.Name); err != nil {
			return gone[:i], err
		}
	}
	return gone, nil
}

// RemoveKeys removes keys of the daemon's for good: all or none. With dryRun it
// only tells which.
func (c *Client) RemoveKeys(ctx context.Context, all []string, dryRun bool) ([]cairn.Key, error) {
	r := request{verb: "key/rm", args: all}
	r.option("dry-run", dryRun)
	var shape keysShape
	if err := c.call(ctx, r, &shape); err != nil {
		return nil, err
	}
	var gone []cairn.Key
	for _, s := range shape.Keys {
		k, err := s.key()
		if err != nil {
			return gone, err
		}
		gone = append(gone, k)
	}
	return gone, nil
}
