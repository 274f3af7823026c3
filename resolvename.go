package cairn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/ipfs/go-cid"
)

// contentPath returns a path, a URL of content or a CID in the form /ipfs/… or
// /ipns/….
func contentPath(s string) (string, error) {
	p, err := ipld.ParsePath(s)
	switch {
	case err == nil:
		return p.Text, nil
	case strings.HasPrefix(s, "/"):
		return s, nil // package names says what is wrong with it
	}
	return "", fmt.Errorf("invalid path %.200q: %w: want a CID, /ipfs/CID or /ipns/NAME: %w", s, ErrNameInvalid, err)
}

// ResolveOptions say how a name is resolved. The zero value is for reading: the
// first valid record answers.
type ResolveOptions struct {
	// Latest waits until all who may have a record have been heard, or the time
	// for that is up: for who acts on the answer.
	Latest bool `json:"latest,omitempty"`
	// Offline asks nobody: what is known here has to do.
	Offline bool `json:"offline,omitempty"`
}

// A Resolution is where a path leads.
type Resolution struct {
	// Path doesn't change: /ipfs/CID or /ipld/CID, with or without more after it.
	Path string `json:"path"`
	// Root is the CID, Rest what is after it, without slashes at the ends.
	Root cid.Cid `json:"cid"`
	Rest string  `json:"rest,omitempty"`
	// TTL is how long that may be cached. Zero: it is out of date, and being
	// asked for again.
	TTL time.Duration `json:"ttl"`
	// Steps are the names on the way. None: the path had no name in it.
	Steps []NameStep `json:"steps"`
}

// A NameStep is a name on the way, and where it leads.
type NameStep struct {
	// Name is the IPNS name, or the domain; Value the path that it leads to.
	Name  string `json:"name"`
	Value string `json:"value"`
	// From says who had that: "here" (it was published here), "remembered" (from
	// before the node was opened), "put", "peer ID", "pubsub ID", "dns",
	// "static", or a source of content routing.
	From string `json:"from"`
	// Heard is when that was; of a domain it's zero.
	Heard time.Time `json:"heard,omitzero"`
	// Record is the IPNS record; nil for a domain.
	Record *NameRecord `json:"record,omitempty"`
}

// ResolveName follows a path, /ipns/NAME or /ipns/DOMAIN with or without more
// after it, through names and domains to one that doesn't change. A name alone,
// without /ipns/, or what a key is called here, will do. What is known here and
// fresh answers at once; else connected peers and content routing are asked.
// Errors: ErrNameNotFound, with why records were refused (ErrNameInvalid,
// ErrNameExpired, ErrRollback), and with ErrOffline where nobody could be
// asked; ErrNameLoop.
func (n *Node) ResolveName(ctx context.Context, path string, o ResolveOptions) (Resolution, error) {
	if rest, found := strings.CutPrefix(path, "ipns://"); found {
		path = "/ipns/" + rest
	}
	if !strings.HasPrefix(path, "/") {
		label, rest, more := strings.Cut(path, "/")
		if !strings.Contains(label, ".") {
			name, err := n.nameOf(label)
			if err != nil {
				return Resolution{}, err
			}
			label = name.String()
		}
		if path = "/ipns/" + label; more {
			path += "/" + rest
		}
	}
	m, err := n.naming(ctx)
	if err != nil {
		return Resolution{}, err
	}
	resolve := m.Resolve
	switch {
	case o.Offline, n.config.Offline:
		resolve = m.ResolveLocal
	case o.Latest:
		resolve = m.ResolveLatest
	}
	r, err := resolve(ctx, path)
	if err != nil {
		return Resolution{}, n.unasked(err)
	}
	return newResolution(r)
}

// unasked adds to what wasn't found that nobody could be asked.
func (n *Node) unasked(err error) error {
	if n.config.Offline && errors.Is(err, ErrNameNotFound) && !errors.Is(err, ErrOffline) {
		return fmt.Errorf("%w: %w", err, ErrOffline)
	}
	return err
}

func newResolution(r names.Resolution) (Resolution, error) {
	p, err := ipld.ParsePath(r.Path)
	if err != nil {
		return Resolution{}, fmt.Errorf("%s: %w", r.Path, err)
	}
	out := Resolution{Path: r.Path, Root: p.Root, Rest: p.Rest, TTL: r.TTL}
	for _, s := range r.Steps {
		step := NameStep{Name: s.Name, Value: s.Value, From: s.From, Heard: s.Confirmed}
		if s.Record != nil {
			record := newNameRecord(s.Record)
			step.Record = &record
		}
		out.Steps = append(out.Steps, step)
	}
	return out, nil
}

// ResolvePath returns the CID that a path leads to: a CID, /ipfs/CID,
// /ipns/NAME, or their URLs (ipfs://, ipns://), with or without a path through
// directories after it. Those have to be here; names are looked up. Errors:
// those of ResolveName; block.ErrNotFound for a block on the way, fs.ErrNotExist
// for an entry of a directory.
func (n *Node) ResolvePath(ctx context.Context, path string, o ResolveOptions) (cid.Cid, error) {
	p, err := contentPath(path)
	if err != nil {
		return cid.Undef, err
	}
	r, err := n.ResolveName(ctx, p, o)
	if err != nil || r.Rest == "" {
		return r.Root, err
	}
	return ipld.Resolve(ctx, n, r.Root, r.Rest)
}

// NameRecord returns the record of a name, which may also be given as what a key
// is called here. Errors: those of ResolveName.
func (n *Node) NameRecord(ctx context.Context, name string, o ResolveOptions) (NameRecord, error) {
	m, parsed, err := n.namingOf(ctx, name)
	if err != nil {
		return NameRecord{}, err
	}
	get := m.Lookup
	switch {
	case o.Offline, n.config.Offline:
		get = m.LookupLocal
	case o.Latest:
		get = m.LookupLatest
	}
	r, err := recordOf(get(ctx, parsed))
	return r, n.unasked(err)
}

func (n *Node) namingOf(ctx context.Context, name string) (*names.Names, names.Name, error) {
	parsed, err := n.nameOf(name)
	if err != nil {
		return nil, names.Name{}, err
	}
	m, err := n.naming(ctx)
	return m, parsed, err
}
