package names

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
)

const (
	// maxSteps bounds the names between a path and its content.
	maxSteps = 32

	// maxPath bounds a path, in bytes: what each name adds fits into a record.
	maxPath = 4 * MaxRecord

	ipnsPrefix = "/ipns/"
)

// A Resolution is where a path leads.
type Resolution struct {
	// Path is immutable: it begins with /ipfs/ or /ipld/.
	Path string
	// TTL is how long that may be cached; 0: it is stale, and being refreshed.
	TTL time.Duration
	// Steps are the names on the way, from the first to the last.
	Steps []Step
}

// A Step is a name on the way, and where it leads.
type Step struct {
	// Name is the IPNS name, or the domain.
	Name string
	// Value is the path that it leads to.
	Value string
	// Record is the IPNS record; nil for a domain.
	Record *Record
	// From describes the source of Value.
	From string
	// Confirmed is when a source last had the record; zero for a domain.
	Confirmed time.Time
}

// The values of Step.From besides Value.Source, "peer ID" and "pubsub ID".
const (
	FromHere   = "here"       // published here
	FromState  = "remembered" // loaded from the state
	FromUser   = "put"        // stored by Names.Put
	FromDNS    = "dns"        // a DNSLink
	FromStatic = "static"     // a DNSLink of DNSConfig.Static

	fromPeer  = "peer "   // fetched from this peer
	fromTopic = "pubsub " // published by this peer
)

// Resolve follows a path that begins with /ipns/NAME or /ipns/DOMAIN through
// names and domains to an immutable one. It reads as Lookup does. Errors: those
// of Lookup and DNSLink.Lookup, ErrTooDeep, ErrInvalid.
func (n *Names) Resolve(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.Lookup, n.lookupLink)
}

// ResolveLatest is Resolve for callers that act on the answer: it waits for all
// lookups of names to end, as LookupLatest does.
func (n *Names) ResolveLatest(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.LookupLatest, n.lookupLink)
}

// ResolveLocal is Resolve without the network: by valid records held here,
// however stale, and by static or cached links of domains. Errors: ErrNotFound
// for a name that isn't here, ErrTooDeep, ErrInvalid.
func (n *Names) ResolveLocal(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.LookupLocal, func(_ context.Context, domain string) (Link, error) {
		if n.c.DNSLink == nil {
			return Link{}, noDNSError(domain)
		}
		return n.c.DNSLink.LookupLocal(domain)
	})
}

// LookupLocal returns the valid record of a name held here, without the network.
// It fails with ErrNotFound.
func (n *Names) LookupLocal(_ context.Context, name Name) (*Record, error) {
	if record, _ := n.validRecord(name); record != nil {
		return record, nil
	}
	return nil, fmt.Errorf("names: record of %s: %w here", name, ErrNotFound)
}

// lookupLink looks up the link of a domain.
func (n *Names) lookupLink(ctx context.Context, domain string) (Link, error) {
	if n.c.DNSLink == nil {
		return Link{}, noDNSError(domain)
	}
	return n.c.DNSLink.Lookup(ctx, domain)
}

func noDNSError(domain string) error {
	if _, err := normalizeDomain(domain); err != nil {
		return err
	}
	return fmt.Errorf("domain %q: %w: Names has no DNSLink", domain, ErrNotFound)
}

func (n *Names) resolve(
	ctx context.Context, p string, get func(context.Context, Name) (*Record, error), link func(context.Context, string) (Link, error),
) (Resolution, error) {
	fail := func(err error) (Resolution, error) {
		return Resolution{}, fmt.Errorf("names: resolve %.200s: %w", p, err)
	}
	r := Resolution{TTL: maxTTL}
	seen := make(map[string]bool)
	at := p
	for {
		clean, err := path.NewPath(at)
		if err != nil || len(at) > maxPath {
			return fail(fmt.Errorf("%w: path %.200q: want /ipfs/CID, /ipld/CID or /ipns/NAME", ErrInvalid, at))
		}
		at = clean.String()
		if !clean.Mutable() {
			r.Path = at
			return r, nil
		}
		if len(r.Steps) == maxSteps {
			return fail(fmt.Errorf("%w: more than %d names", ErrTooDeep, maxSteps))
		}
		label := nameInPath(at)
		step, ttl, err := n.resolveStep(ctx, label, get, link)
		if err != nil && len(r.Steps) == 0 {
			return Resolution{}, err // it contains the name
		}
		if err != nil {
			return fail(err)
		}
		if seen[step.Name] {
			return fail(fmt.Errorf("%w: %s leads to itself", ErrTooDeep, step.Name))
		}
		seen[step.Name] = true
		r.Steps = append(r.Steps, step)
		r.TTL = max(0, min(r.TTL, ttl))
		rest := strings.TrimPrefix(at, ipnsPrefix+label)
		at = strings.TrimSuffix(step.Value, "/") + rest
	}
}

// nameInPath returns the NAME of a path /ipns/NAME/…, empty for another path.
func nameInPath(p string) string {
	rest, ok := strings.CutPrefix(p, ipnsPrefix)
	if !ok {
		return ""
	}
	label, _, _ := strings.Cut(rest, "/")
	return label
}

// resolveStep resolves one name or domain.
func (n *Names) resolveStep(
	ctx context.Context, label string, get func(context.Context, Name) (*Record, error), link func(context.Context, string) (Link, error),
) (Step, time.Duration, error) {
	name, err := ParseName(label)
	if err != nil {
		l, err := link(ctx, label)
		if err != nil {
			return Step{}, 0, err
		}
		return Step{Name: l.Domain, Value: l.Path, From: l.From}, l.TTL, nil
	}
	record, err := get(ctx, name)
	if err != nil {
		return Step{}, 0, err
	}
	value, err := record.Value()
	if err != nil {
		return Step{}, 0, err
	}
	_, fresh := n.validRecord(name)
	r, _ := n.cache.get(name)
	return Step{Name: name.String(), Value: value, Record: record, From: r.from, Confirmed: r.confirmed}, fresh, nil
}
