package kubo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// A nameEntry is the answer about a name that was published.
type nameEntry struct{ Name, Value string }

// namePublish publishes a name. A record that no peer took is an error, unless
// allow-offline is set.
func (c *call) namePublish() error {
	allow, resolve, base := c.Flag("allow-offline", false), c.Flag("resolve", true), c.nameBase()
	o, err := c.publishOptions()
	if err != nil {
		return err
	}
	path := c.Args[0]
	if resolve && !isName(path) {
		get := c.getter()
		at, err := c.resolveArg(get, path)
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
		c.Reject("sequence", fmt.Sprint(sequence), "0 or more")
	} else {
		o.Sequence = uint64(sequence)
	}
	if text := c.Query.Get("metadata"); text != "" {
		var err error
		if o.Metadata, err = parseMetadata(text); err != nil {
			return o, httpapi.BadRequest("option metadata: %w", err)
		}
	}
	return o, c.Invalid()
}

// parseMetadata parses the signed fields of a record, a JSON object. Its numbers
// are integers of 64 bits.
func parseMetadata(text string) (map[string]any, error) {
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

// nameResolve resolves a name, by default the node's own.
func (c *call) nameResolve() error {
	recursive, o := c.Flag("recursive", true), c.resolveOptions("nocache")
	if c.Invalid() != nil {
		return c.Invalid()
	}
	name := cairn.SelfKey
	if len(c.Args) > 0 {
		name = c.Args[0]
	}
	return c.showPath(name, recursive, o)
}

// showPath answers with the path that a name leads to, in the end or after one
// step.
func (c *call) showPath(name string, recursive bool, o cairn.ResolveOptions) error {
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

// dns resolves a DNSLink.
func (c *call) dns() error {
	recursive, o := c.Flag("recursive", true), c.resolveOptions("nocache")
	domain := strings.TrimPrefix(c.Args[0], "/ipns/")
	switch {
	case c.Invalid() != nil:
		return c.Invalid()
	case !strings.Contains(domain, ".") || strings.Contains(domain, "/"):
		return httpapi.BadRequest("invalid domain %.200q: want a name with a dot, and no path", c.Args[0])
	}
	return c.showPath(domain, recursive, o)
}

// resolve resolves a path, through names and directories.
func (c *call) resolve() error {
	if recursive := c.Flag("recursive", true); !recursive && isName(c.Args[0]) {
		return c.showPath(c.Args[0], false, c.resolveOptions("nocache"))
	}
	at, err := c.resolveArg(c.getter(), c.Args[0])
	if err != nil {
		return err
	}
	return c.Value(struct{ Path string }{"/ipfs/" + at.String()})
}

// recordType is the media type of records (IPIP-351).
const recordType = "application/vnd.ipfs.ipns-record"

// nameGet answers with a name's record, as it was signed.
func (c *call) nameGet() error {
	o := c.resolveOptions("nocache")
	if c.Invalid() != nil {
		return c.Invalid()
	}
	r, err := c.node.NameRecord(c.Context(), c.Args[0], o)
	if err != nil {
		return err
	}
	c.Header().Set(httpapi.ContentLength, fmt.Sprint(len(r.Raw)))
	_, err = c.Bytes(recordType).Write(r.Raw)
	return err
}

// namePut sends a record. One that no peer took is an error, unless allow-offline
// is set.
func (c *call) namePut() error {
	allow, base := c.Flag("allow-offline", false), c.nameBase()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	r, err := c.putRecord()
	if err != nil && !(allow && errors.Is(err, cairn.ErrNotSent)) {
		return err
	}
	return c.Value(nameEntry{base(r.Name), r.Value})
}

func (c *call) putRecord() (cairn.NameRecord, error) {
	raw, err := c.OnePart(cairn.MaxNameRecord)
	if err != nil {
		return cairn.NameRecord{}, err
	}
	return c.node.PutNameRecord(c.Context(), c.Args[0], raw)
}

// An inspection is the answer about a record.
type inspection struct {
	Entry struct {
		Value        string
		ValidityType int // 0: valid until Validity
		Validity     time.Time
		Sequence     uint64
		TTL          time.Duration
	}
	PbSize     int
	Validation *validation `json:",omitempty"`
}

type validation struct {
	Valid  bool
	Reason string
	Name   string
}

// nameInspect decodes a record, and with the option verify checks that it belongs
// to a name.
func (c *call) nameInspect() error {
	name := c.Query.Get("verify")
	raw, err := c.OnePart(cairn.MaxNameRecord)
	if err != nil {
		return err
	}
	r, err := cairn.InspectNameRecord(raw)
	if err != nil {
		return err
	}
	var out inspection
	out.Entry.Value, out.Entry.Validity, out.Entry.Sequence, out.Entry.TTL = r.Value, r.Validity, r.Sequence, r.TTL
	out.PbSize = len(raw)
	if name != "" {
		out.Validation = &validation{Name: name}
		signed, err := cairn.ParseNameRecord(name, raw)
		if err == nil {
			err = signed.Valid(time.Now())
		}
		if out.Validation.Valid = err == nil; err != nil {
			out.Validation.Reason = err.Error()
		}
	}
	return c.Value(out)
}
