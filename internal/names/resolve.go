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
	return n.resolve(ctx, p, n.Record)
}

// ResolveLatest is Resolve for who acts on the answer: it waits for all
// look-ups of names to end, as Latest does.
func (n *Names) ResolveLatest(ctx context.Context, p string) (Resolution, error) {
	return n.resolve(ctx, p, n.Latest)
}

func (n *Names) resolve(ctx context.Context, p string, get func(context.Context, Name) (*Record, error)) (Resolution, error) {
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
		step, ttl, err := n.step(ctx, label, get)
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
func (n *Names) step(ctx context.Context, label string, get func(context.Context, Name) (*Record, error)) (Step, time.Duration, error) {
	name, err := ParseName(label)
	if err == nil {
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
	if n.c.DNSLink == nil {
		if _, err := domainOf(label); err == nil {
			return Step{}, 0, fmt.Errorf("%w: %q: domains are not resolved here", ErrNotFound, label)
		}
		return Step{}, 0, err
	}
	link, err := n.c.DNSLink.Lookup(ctx, label)
	if err != nil {
		return Step{}, 0, err
	}
	return Step{Name: link.Domain, Value: link.Path, From: link.From}, link.TTL, nil
}
