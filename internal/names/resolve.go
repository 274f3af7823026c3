package names

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
)

const (
	// maxSteps bounds how many names lead from one to the next.
	maxSteps = 32

	// maxPath bounds a path, in bytes: what a name adds fits into a record.
	maxPath = 4 * MaxRecord

	ipnsPrefix = "/ipns/"
)

// A Resolution is where a path leads.
type Resolution struct {
	// Path doesn't change: it begins with /ipfs/, or /ipld/.
	Path string
	// TTL is how long that may be cached; 0: it is out of date already, and is
	// being asked for again.
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
	// From is who had that, and Heard when; of a domain Heard is zero.
	From  string
	Heard time.Time
}

// What Step.From is, besides the Source of a Found, "peer ID" and "pubsub ID".
const (
	FromHere   = "here"       // it was published here
	FromState  = "remembered" // it was in the State
	FromUser   = "put"        // by Names.Put
	FromDNS    = "dns"        // a DNSLink
	FromStatic = "static"     // a DNSLink of DNSConfig.Static

	fromPeer  = "peer "   // whom we asked
	fromTopic = "pubsub " // who published it
)

// Resolve follows a path, /ipns/NAME or /ipns/DOMAIN with or without more
// after it, through names and domains until it reaches one that doesn't change.
// It reads as Record does. Errors: those of Record and DNSLink.Lookup,
// ErrTooDeep, ErrInvalid.
func (n *Names) Resolve(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.Record, n.link)
}

// ResolveLatest is Resolve for who acts on the answer: it waits for all
// look-ups of names to end, as Latest does.
func (n *Names) ResolveLatest(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.Latest, n.link)
}

// ResolveHere is Resolve by what is known here, asking nobody: valid records,
// however long ago they were heard of, and links of domains that are static or
// cached. Errors: ErrNotFound for what isn't here, ErrTooDeep, ErrInvalid.
func (n *Names) ResolveHere(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.Here, func(_ context.Context, domain string) (Link, error) {
		if n.c.DNSLink == nil {
			return Link{}, errNoDNS(domain)
		}
		return n.c.DNSLink.Known(domain)
	})
}

// Here returns the record of a name that is here, asking nobody. It fails with
// ErrNotFound.
func (n *Names) Here(_ context.Context, name Name) (*Record, error) {
	if record, _ := n.held(name); record != nil {
		return record, nil
	}
	return nil, fmt.Errorf("names: record of %s: %w here", name, ErrNotFound)
}

// link asks for the link of a domain.
func (n *Names) link(ctx context.Context, domain string) (Link, error) {
	if n.c.DNSLink == nil {
		return Link{}, errNoDNS(domain)
	}
	return n.c.DNSLink.Lookup(ctx, domain)
}

func errNoDNS(domain string) error {
	if _, err := domainOf(domain); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q: domains are not resolved here", ErrNotFound, domain)
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
			return fail(fmt.Errorf("%w: no path of content: %.200q", ErrInvalid, at))
		}
		at = clean.String()
		if !clean.Mutable() {
			r.Path = at
			return r, nil
		}
		if len(r.Steps) == maxSteps {
			return fail(fmt.Errorf("%w: more than %d", ErrTooDeep, maxSteps))
		}
		label := firstName(at)
		step, ttl, err := n.step(ctx, label, get, link)
		if err != nil && len(r.Steps) == 0 {
			return Resolution{}, err // which names what was asked for
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

// firstName is the NAME of a path /ipns/NAME/…, empty if it's another path.
func firstName(p string) string {
	rest, ok := strings.CutPrefix(p, ipnsPrefix)
	if !ok {
		return ""
	}
	label, _, _ := strings.Cut(rest, "/")
	return label
}

// step takes one name.
func (n *Names) step(
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
	_, fresh := n.held(name)
	r, _ := n.table.get(name)
	return Step{Name: name.String(), Value: value, Record: record, From: r.from, Heard: r.heard}, fresh, nil
}
