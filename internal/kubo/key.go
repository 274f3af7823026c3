package kubo

import (
	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/multiformats/go-multibase"
)

// A keyShape is Kubo's name and id of a key, and two fields of ours.
type keyShape struct {
	Name, Id  string
	Encrypted bool                 `json:",omitempty"`
	Error     *httpapi.ErrorDetail `json:",omitempty"` // the key's file can't be read
}

// A nameBase formats a name in the base of the option ipns-base.
type nameBase func(id string) string

func (c *call) nameBase() nameBase {
	base := c.Text("ipns-base", "base36")
	var encoder multibase.Encoder
	if base != "b58mh" {
		var err error
		if encoder, err = multibase.EncoderByName(base); err != nil {
			c.Reject("ipns-base", base, "b58mh or the name of a multibase")
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
		return httpapi.BadRequest("invalid option type: %.64q: want ed25519; other keys can be imported", kind)
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
		return httpapi.BadRequest("option force: a key is never overwritten: remove it first")
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

// keyRm removes keys, all or none.
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

// maxKeyFile bounds a private key that is imported, in bytes: an RSA key of 8192
// bits has 6,500 in PEM.
const maxKeyFile = 64 << 10

// keyFormats are the formats of a private key, by Kubo's names.
var keyFormats = map[string]cairn.KeyFormat{
	"libp2p-protobuf-cleartext": cairn.KeyProtobuf,
	"pem-pkcs8-cleartext":       cairn.KeyPEM,
}

// keyFormat reads the option format.
func (c *call) keyFormat() (cairn.KeyFormat, error) {
	name := c.Text("format", "libp2p-protobuf-cleartext")
	f, known := keyFormats[name]
	if !known {
		return 0, httpapi.BadRequest("invalid option format: %.64q: want libp2p-protobuf-cleartext or pem-pkcs8-cleartext", name)
	}
	return f, nil
}

// keyExport answers with a private key. Kubo has it only as a command.
func (c *call) keyExport() error {
	f, err := c.keyFormat()
	if err != nil {
		return err
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	data, err := keys.Export(c.Args[0], f)
	if err != nil {
		return err
	}
	_, err = c.Bytes("application/octet-stream").Write(data)
	return err
}

func (c *call) keyImport() error {
	if _, err := c.keyFormat(); err != nil { // Import detects the format
		return err
	}
	base := c.nameBase()
	c.Flag("allow-any-key-type", false) // every key type is allowed
	if c.Invalid() != nil {
		return c.Invalid()
	}
	data, err := c.OnePart(maxKeyFile)
	if err != nil {
		return err
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Import(c.Args[0], data)
	if err != nil {
		return err
	}
	return c.Value(base.shape(k))
}
