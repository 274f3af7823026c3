package kubo

import (
	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/multiformats/go-multibase"
)

// A keyShape is a key as Kubo tells of it, and what we say besides.
type keyShape struct {
	Name, Id  string
	Encrypted bool                 `json:",omitempty"`
	Error     *httpapi.ErrorDetail `json:",omitempty"` // the key's file can't be read
}

// A nameBase writes a name as the option ipns-base says.
type nameBase func(id string) string

func (c *call) nameBase() nameBase {
	base := c.Text("ipns-base", "base36")
	var encoder multibase.Encoder
	if base != "b58mh" {
		var err error
		if encoder, err = multibase.EncoderByName(base); err != nil {
			c.Reject("ipns-base", base, "base")
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
	kind, base := c.Text("type", "ed25519"), c.nameBase()
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case kind != "ed25519":
		return httpapi.BadRequest("option type: %.64q: new keys are ed25519; others can be imported", kind)
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Generate(c.Args[0])
	if err != nil {
		return err
	}
	return c.Value(base.shape(k))
}

type keysShape struct{ Keys []keyShape }

func (c *call) keyList() error {
	base := c.nameBase()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	all := keysShape{Keys: []keyShape{}}
	for k, err := range keys.List() {
		shape := base.shape(k)
		if err != nil {
			shape.Error = c.Detail(err)
		}
		all.Keys = append(all.Keys, shape)
	}
	return c.Value(all)
}

func (c *call) keyRename() error {
	force, base := c.Flag("force", false), c.nameBase()
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case force:
		return httpapi.BadRequest("option force: a key is never written over; remove it first")
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Rename(c.Args[0], c.Args[1])
	if err != nil {
		return err
	}
	return c.Value(struct {
		Was, Now, Id string
		Overwrite    bool
	}{c.Args[0], k.Name, base(k.ID), false})
}

// keyRm removes keys, if all of them are there.
func (c *call) keyRm() error {
	base, dryRun := c.nameBase(), c.Flag("dry-run", false)
	if c.Invalid() != nil {
		return c.Invalid()
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	gone, err := keys.RemoveAll(c.Args, dryRun)
	if err != nil {
		return err
	}
	all := keysShape{Keys: []keyShape{}}
	for _, k := range gone {
		all.Keys = append(all.Keys, base.shape(k))
	}
	return c.Value(all)
}
