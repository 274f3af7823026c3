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

// ResolveOptions configure the resolution of names. The zero value is for reading:
// the first valid record answers.
type ResolveOptions struct {
	// Latest waits for the whole lookup, and takes the record with the highest
	// sequence. It is for decisions that rest on the answer.
	Latest bool `json:"latest,omitempty"`
	// Offline uses stored records only.
	Offline bool `json:"offline,omitempty"`
}

// A Resolution is the immutable path that another path leads to.
type Resolution struct {
	// Path begins with /ipfs/CID or /ipld/CID.
	Path string `json:"path"`
	// Root is the CID in it, Rest what follows, without slashes at the ends.
	Root cid.Cid `json:"cid"`
	Rest string  `json:"rest,omitempty"`
	// TTL is how long the resolution may be cached. Zero: it is stale, and a
	// lookup is under way.
	TTL time.Duration `json:"ttl"`
	// Steps are the names on the way. Nil: the path was immutable.
	Steps []NameStep `json:"steps"`
}

// A NameStep is one name of a resolution.
type NameStep struct {
	// Name is the IPNS name or the domain, Value the path that it leads to.
	Name  string `json:"name"`
	Value string `json:"value"`
	// From is the source of the value: "here" (published here), "remembered"
	// (stored before the node was opened), "put", "peer ID", "pubsub ID", "dns",
	// "static", or a source of content routing.
	From string `json:"from"`
	// Heard is when the value was last confirmed. Zero for a domain.
	Heard time.Time `json:"heard,omitzero"`
	// Record is the IPNS record; nil for a domain.
	Record *NameRecord `json:"record,omitempty"`
}

// ResolveName follows a path, /ipns/NAME or /ipns/DOMAIN and what comes after,
// through names and domains to an immutable path. It also takes a name without
// /ipns/, and the name of a key. A stored record that is fresh answers at once;
// otherwise connected peers and content routing are queried. Errors:
// ErrNameNotFound, which also wraps why records were rejected (ErrNameInvalid,
// ErrNameExpired, ErrRollback), and ErrOffline if nothing could be queried;
// ErrNameLoop.
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
		return Resolution{}, n.explainNotFound(err)
	}
	return newResolution(r)
}

// explainNotFound adds ErrOffline to an ErrNameNotFound of a node that is offline.
func (n *Node) explainNotFound(err error) error {
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

// ResolvePath returns the CID that a path leads to: a CID, /ipfs/CID, /ipns/NAME
// or their URLs (ipfs://, ipns://), and a path through links after it. It looks
// names up, and reads the blocks on the way from the store only. Errors: those of
// ResolveName; block.ErrNotFound for a missing block, fs.ErrNotExist for a missing
// entry.
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

// NameRecord returns the record of a name, or of the key called name. Errors: those
// of ResolveName.
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
	return r, n.explainNotFound(err)
}
