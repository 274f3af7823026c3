package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
)

// A NameRecordShape is a record of a name in JSON.
type NameRecordShape struct {
	// Name is empty where nobody said it.
	Name     string    `json:"name,omitempty"`
	Value    string    `json:"value"`
	Sequence uint64    `json:"sequence"`
	Validity time.Time `json:"validity"`
	// TTL is in seconds.
	TTL      float64        `json:"ttl"`
	Metadata map[string]any `json:"metadata,omitempty"`
	// Record is what the owner signed, in base 64.
	Record []byte `json:"record"`
	// NotSent: it is kept here, and why nobody else took it.
	NotSent *errorDetail `json:"notSent,omitempty"`
}

// ShapeOfNameRecord returns a record as it is in JSON. Its bytes among the
// metadata are as in DAG-JSON.
func ShapeOfNameRecord(r cairn.NameRecord) NameRecordShape {
	s := NameRecordShape{
		Name: r.Name, Value: r.Value, Sequence: r.Sequence, Validity: r.Validity.UTC(), TTL: r.TTL.Seconds(), Record: r.Raw,
	}
	for key, v := range r.Metadata {
		if s.Metadata == nil {
			s.Metadata = make(map[string]any)
		}
		if data, isBytes := v.([]byte); isBytes {
			v = map[string]any{"/": map[string][]byte{"bytes": data}}
		}
		s.Metadata[key] = v
	}
	return s
}

// record reads the record anew: what is in it is what was signed.
func (s NameRecordShape) record() (cairn.NameRecord, error) {
	r, err := cairn.ParseNameRecord(s.Name, s.Record)
	if err != nil {
		return cairn.NameRecord{}, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if s.NotSent != nil {
		err = &Error{s.NotSent.Message, s.NotSent.Codes}
	}
	return r, err
}

// kept answers with a record that is here, whether it was sent or not.
func (c *call) kept(r cairn.NameRecord, err error) error {
	if err != nil && !errors.Is(err, cairn.ErrNotSent) {
		return err
	}
	shape := ShapeOfNameRecord(r)
	if err != nil {
		shape.NotSent = &errorDetail{err.Error(), codesOf(err)}
	}
	return c.value(shape)
}

// keptRecord asks for what kept answers.
func (c *Client) keptRecord(ctx context.Context, r request) (cairn.NameRecord, error) {
	var shape NameRecordShape
	if err := c.call(ctx, r, &shape); err != nil {
		return cairn.NameRecord{}, err
	}
	return shape.record()
}

// A nameEntry is what Kubo says of a name that was published.
type nameEntry struct{ Name, Value string }

// namePublish is Kubo's: what nobody took is an error, unless allow-offline.
func (c *call) namePublish() error {
	allow, resolve, base := c.flag("allow-offline", false), c.flag("resolve", true), c.nameBase()
	o, err := c.publishOptions()
	if err != nil {
		return err
	}
	path := c.args[0]
	if resolve && !isName(path) {
		get := c.getter()
		at, err := c.place(get, path)
		if err == nil {
			_, err = get.Get(c.ctx, at)
		}
		if err != nil {
			return err
		}
	}
	r, err := c.node.PublishName(c.ctx, c.text("key", cairn.SelfKey), path, o)
	if err != nil && !(allow && errors.Is(err, cairn.ErrNotSent)) {
		return err
	}
	return c.value(nameEntry{base(r.Name), r.Value})
}

func (c *call) publishOptions() (cairn.PublishOptions, error) {
	o := cairn.PublishOptions{Lifetime: c.duration("lifetime", 0), TTL: c.duration("ttl", 0), Offline: c.flag("offline", false)}
	if sequence := c.number("sequence", 0); sequence < 0 {
		c.complain("sequence", fmt.Sprint(sequence), "sequence")
	} else {
		o.Sequence = uint64(sequence)
	}
	if text := c.query.Get("metadata"); text != "" {
		var err error
		if o.Metadata, err = metadataOf(text); err != nil {
			return o, badRequest("option metadata: %w", err)
		}
	}
	return o, c.bad
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

// publishName is ours: it tells of the record.
func (c *call) publishName() error {
	o, err := c.publishOptions()
	if err != nil {
		return err
	}
	return c.kept(c.node.PublishName(c.ctx, c.text("key", cairn.SelfKey), c.args[0], o))
}

// PublishName makes the daemon publish a name, as cairn.Node.PublishName does.
// Metadata can't have bytes in it.
func (c *Client) PublishName(ctx context.Context, key, path string, o cairn.PublishOptions) (cairn.NameRecord, error) {
	r := request{verb: "cairn/name/publish", args: []string{path}}
	if key != "" {
		r.option("key", key)
	}
	r.option("lifetime", o.Lifetime)
	r.option("ttl", o.TTL)
	r.option("sequence", o.Sequence)
	r.option("offline", o.Offline)
	if o.Metadata != nil {
		for key, v := range o.Metadata {
			if _, isBytes := v.([]byte); isBytes {
				return cairn.NameRecord{}, fmt.Errorf("publish: the field %s: bytes can't be sent to a daemon", key)
			}
		}
		text, err := json.Marshal(o.Metadata)
		if err != nil {
			return cairn.NameRecord{}, err
		}
		r.option("metadata", string(text))
	}
	return c.keptRecord(ctx, r)
}

// A ResolutionShape is where a name leads, in JSON.
type ResolutionShape struct {
	Path string `json:"path"`
	CID  string `json:"cid"`
	Rest string `json:"rest,omitempty"`
	// TTL is in seconds.
	TTL   float64         `json:"ttl"`
	Steps []NameStepShape `json:"steps"`
}

// A NameStepShape is a name on the way, in JSON.
type NameStepShape struct {
	Name   string           `json:"name"`
	Value  string           `json:"value"`
	From   string           `json:"from"`
	Heard  *time.Time       `json:"heard,omitempty"`
	Record *NameRecordShape `json:"record,omitempty"`
}

// ShapeOfResolution returns a resolution as it is in JSON.
func ShapeOfResolution(r cairn.Resolution) ResolutionShape {
	s := ResolutionShape{Path: r.Path, CID: r.Root.String(), Rest: r.Rest, TTL: r.TTL.Seconds(), Steps: []NameStepShape{}}
	for _, step := range r.Steps {
		one := NameStepShape{Name: step.Name, Value: step.Value, From: step.From, Heard: optionalTime(step.Heard)}
		if step.Record != nil {
			record := ShapeOfNameRecord(*step.Record)
			one.Record = &record
		}
		s.Steps = append(s.Steps, one)
	}
	return s
}

func (s ResolutionShape) resolution() (r cairn.Resolution, err error) {
	r = cairn.Resolution{Path: s.Path, Rest: s.Rest, TTL: time.Duration(s.TTL * float64(time.Second))}
	if r.Root, err = block.ParseCID(s.CID); err != nil {
		return r, err
	}
	for _, one := range s.Steps {
		step := cairn.NameStep{Name: one.Name, Value: one.Value, From: one.From}
		if one.Heard != nil {
			step.Heard = *one.Heard
		}
		if one.Record != nil {
			record, err := one.Record.record()
			if err != nil {
				return r, err
			}
			step.Record = &record
		}
		r.Steps = append(r.Steps, step)
	}
	return r, nil
}

func (c *call) resolveOptions(latest string) cairn.ResolveOptions {
	return cairn.ResolveOptions{Latest: c.flag(latest, false), Offline: c.flag("offline", false)}
}

// nameResolve is Kubo's; without a name it's about the node's own.
func (c *call) nameResolve() error {
	recursive, o := c.flag("recursive", true), c.resolveOptions("nocache")
	if c.bad != nil {
		return c.bad
	}
	name := cairn.SelfKey
	if len(c.args) > 0 {
		name = c.args[0]
	}
	return c.path(name, recursive, o)
}

// path answers with where a name leads; at the end, or after one step.
func (c *call) path(name string, recursive bool, o cairn.ResolveOptions) error {
	r, err := c.node.ResolveName(c.ctx, name, o)
	if err != nil {
		return err
	}
	path := r.Path
	if !recursive && len(r.Steps) > 0 {
		path = r.Steps[0].Value
	}
	return c.value(struct{ Path string }{path})
}

// dns is Kubo's, for domains alone.
func (c *call) dns() error {
	recursive, o := c.flag("recursive", true), c.resolveOptions("nocache")
	domain := strings.TrimPrefix(c.args[0], "/ipns/")
	switch {
	case c.bad != nil:
		return c.bad
	case !strings.Contains(domain, ".") || strings.Contains(domain, "/"):
		return badRequest("%.200q is no domain", c.args[0])
	}
	return c.path(domain, recursive, o)
}

// resolve is Kubo's, for all paths: through names and directories.
func (c *call) resolve() error {
	if recursive := c.flag("recursive", true); !recursive && isName(c.args[0]) {
		return c.path(c.args[0], false, c.resolveOptions("nocache"))
	}
	at, err := c.place(c.getter(), c.args[0])
	if err != nil {
		return err
	}
	return c.value(struct{ Path string }{"/ipfs/" + at.String()})
}

// resolveName is ours: it tells of the names on the way.
func (c *call) resolveName() error {
	o := c.resolveOptions("latest")
	if c.bad != nil {
		return c.bad
	}
	r, err := c.node.ResolveName(c.ctx, c.args[0], o)
	if err != nil {
		return err
	}
	return c.value(ShapeOfResolution(r))
}

// ResolveName asks the daemon where a name leads, as cairn.Node.ResolveName
// does.
func (c *Client) ResolveName(ctx context.Context, path string, o cairn.ResolveOptions) (cairn.Resolution, error) {
	r := request{verb: "cairn/name/resolve", args: []string{path}}
	r.resolveOptions(o)
	var shape ResolutionShape
	if err := c.call(ctx, r, &shape); err != nil {
		return cairn.Resolution{}, err
	}
	resolved, err := shape.resolution()
	if err != nil {
		return cairn.Resolution{}, fmt.Errorf("resolve %.200s: read the daemon's answer: %w", path, err)
	}
	return resolved, nil
}

func (r *request) resolveOptions(o cairn.ResolveOptions) {
	r.option("latest", o.Latest)
	r.option("offline", o.Offline)
}
