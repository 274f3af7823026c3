package kubo

import (
	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// maxKeyFile bounds a private key that is taken in, in bytes: an RSA key of 8192
// bits in PEM has 6,500.
const maxKeyFile = 64 << 10

// keyFormats are the ways to write a private key, by Kubo's names.
var keyFormats = map[string]cairn.KeyFormat{
	"libp2p-protobuf-cleartext": cairn.KeyProtobuf,
	"pem-pkcs8-cleartext":       cairn.KeyPEM,
}

// keyFormat reads the option format.
func (c *call) keyFormat() (cairn.KeyFormat, error) {
	name := c.Text("format", "libp2p-protobuf-cleartext")
	f, known := keyFormats[name]
	if !known {
		return 0, httpapi.BadRequest("option format: %.64q is no format of keys", name)
	}
	return f, nil
}

// keyExport answers with a private key. Kubo has it on its command line only.
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
	if _, err := c.keyFormat(); err != nil { // Import sees which it is
		return err
	}
	base := c.nameBase()
	c.Flag("allow-any-key-type", false) // all that can be read is taken
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
