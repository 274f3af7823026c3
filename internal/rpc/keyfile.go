package rpc

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/cairn-ipfs/cairn"
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
	name := c.text("format", "libp2p-protobuf-cleartext")
	f, known := keyFormats[name]
	if !known {
		return 0, badRequest("option format: %.64q is no format of keys", name)
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
	data, err := keys.Export(c.args[0], f)
	if err != nil {
		return err
	}
	_, err = c.bytes("application/octet-stream").Write(data)
	return err
}

func (c *call) keyImport() error {
	if _, err := c.keyFormat(); err != nil { // Import sees which it is
		return err
	}
	base := c.nameBase()
	c.flag("allow-any-key-type", false) // all that can be read is taken
	if c.bad != nil {
		return c.bad
	}
	data, err := c.onePart(maxKeyFile)
	if err != nil {
		return err
	}
	keys, err := c.node.Keys()
	if err != nil {
		return err
	}
	k, err := keys.Import(c.args[0], data)
	if err != nil {
		return err
	}
	return c.value(base.shape(k))
}

// ExportKey returns a private key of the daemon's, as cairn.Keys.Export does. It
// is refused but over a Unix socket or within this machine.
func (c *Client) ExportKey(ctx context.Context, nameOrID string, f cairn.KeyFormat) ([]byte, error) {
	if err := c.confidential(); err != nil {
		return nil, err
	}
	r := request{verb: "key/export", args: []string{nameOrID}}
	r.keyFormat(f)
	return c.read(ctx, r, maxKeyFile)
}

func (r *request) keyFormat(f cairn.KeyFormat) {
	for name, known := range keyFormats {
		if known == f {
			r.option("format", name)
		}
	}
}

// ImportKey gives the daemon a private key, as cairn.Keys.Import does. It is
// refused but over a Unix socket or within this machine.
func (c *Client) ImportKey(ctx context.Context, name string, data []byte) (cairn.Key, error) {
	if err := c.confidential(); err != nil {
		return cairn.Key{}, err
	}
	r := request{verb: "key/import", args: []string{name}}
	if err := r.file("key", data); err != nil {
		return cairn.Key{}, err
	}
	return c.key(ctx, r)
}

// within tells whether a request comes from this machine.
func within(r *http.Request) bool {
	if overUnix(r) {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// confidential refuses to send what nobody else may see over a network: the API
// isn't encrypted.
func (c *Client) confidential() error {
	if c.unix {
		return nil
	}
	u, err := url.Parse(c.base)
	if err == nil {
		host := u.Hostname()
		if host == "localhost" || net.ParseIP(host).IsLoopback() {
			return nil
		}
	}
	return forbidden("private keys are not sent to %s: ask the daemon on its own machine", c.address)
}
