package kubo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A nameEntry is what Kubo says of a name that was published.
type nameEntry struct{ Name, Value string }

// namePublish is Kubo's: what nobody took is an error, unless allow-offline.
func (c *call) namePublish() error {
	allow, resolve, base := c.Flag("allow-offline", false), c.Flag("resolve", true), c.nameBase()
	o, err := c.publishOptions()
	if err != nil {
		return err
	}
	path := c.Args[0]
	if resolve && !isName(path) {
		get := c.getter()
		at, err := c.place(get, path)
		if err == nil {
			_, err = get.Get(c.Context(), at)
		}
		if err != nil {
			return err
		}
	}
	r, err := c.node.PublishName(c.Context(), c.Text("key", cairn.SelfKey), path, o)
	if err != nil && !(allow && errors.Is(err, cairn.ErrNotSent)) {
		return err
	}
	return c.Value(nameEntry{base(r.Name), r.Value})
}

func (c *call) publishOptions() (cairn.PublishOptions, error) {
	o := cairn.PublishOptions{Lifetime: c.Duration("lifetime", 0), TTL: c.Duration("ttl", 0), Offline: c.Flag("offline", false)}
	if sequence := c.Number("sequence", 0); sequence < 0 {
		c.Reject("sequence", fmt.Sprint(sequence), "sequence")
	} else {
		o.Sequence = uint64(sequence)
	}
	if text := c.Query.Get("metadata"); text != "" {
		var err error
		if o.Metadata, err = metadataOf(text); err != nil {
			return o, httpapi.BadRequest("option metadata: %w", err)
		}
	}
	return o, c.Invalid()
}

// metadataOf reads the signed fields of a record from a JSON object. Its numbers
// are whole ones, of which none is rounded.
func metadataOf(text string) (map[string]any, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return nil, err
	}
	m := make(map[string]any)
	for key, field := range fields {
		in := json.NewDecoder(bytes.NewReader(field))
		in.UseNumber()
		var v any
		if err := in.Decode(&v); err != nil {
			return nil, err
		}
		if number, isNumber := v.(json.Number); isNumber {
			n, err := number.Int64()
			if err != nil {
				return nil, fmt.Errorf("the field %s: %w", key, err)
			}
			v = n
		}
		m[key] = v
	}
	return m, nil
}

func (c *call) resolveOptions(latest string) cairn.ResolveOptions {
	return cairn.ResolveOptions{Latest: c.Flag(latest, false), Offline: c.Flag("offline", false)}
}

// nameResolve is Kubo's; without a name it's about the node's own.
func (c *call) nameResolve() error {
	recursive, o := c.Flag("recursive", true), c.resolveOptions("nocache")
	if c.Invalid() != nil {
		return c.Invalid()
	}
	name := cairn.SelfKey
	if len(c.Args) > 0 {
		name = c.Args[0]
	}
	return c.path(name, recursive, o)
}

// path answers with where a name leads; at the end, or after one step.
func (c *call) path(name string, recursive bool, o cairn.ResolveOptions) error {
	r, err := c.node.ResolveName(c.Context(), name, o)
	if err != nil {
		return err
	}
	path := r.Path
	if !recursive && len(r.Steps) > 0 {
		path = r.Steps[0].Value
	}
	return c.Value(struct{ Path string }{path})
}

// dns is Kubo's, for domains alone.
func (c *call) dns() error {
	recursive, o := c.Flag("recursive", true), c.resolveOptions("nocache")
	domain := strings.TrimPrefix(c.Args[0], "/ipns/")
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case !strings.Contains(domain, ".") || strings.Contains(domain, "/"):
		return httpapi.BadRequest("%.200q is no domain", c.Args[0])
	}
	return c.path(domain, recursive, o)
}

// resolve is Kubo's, for all paths: through names and directories.
func (c *call) resolve() error {
	if recursive := c.Flag("recursive", true); !recursive && isName(c.Args[0]) {
		return c.path(c.Args[0], false, c.resolveOptions("nocache"))
	}
	at, err := c.place(c.getter(), c.Args[0])
	if err != nil {
		return err
	}
	return c.Value(struct{ Path string }{"/ipfs/" + at.String()})
}
