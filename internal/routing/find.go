package routing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A found is a provider on its way to the caller.
type found struct {
	Provider
	keep bool // in the cache
}

// FindProviders asks all sources who has c, and yields each provider when it
// is first told of; again if there's an address that is new, three times at
// most.
// What the cache remembers comes first. The look-up ends when the caller stops
// ranging, with the context, or after Limits.Lookup. Nothing yielded, and no
// error: nobody has it. An error is the last thing yielded; ErrNoSource: nothing
// is remembered, and there's nobody to ask.
func (r *Router) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		if !c.Defined() {
			yield(Provider{}, errors.New("routing: find providers: no CID"))
			return
		}
		var known []found
		for _, p := range r.cache.get(c, time.Now()) {
			if p.Addrs = r.near().clean(p.ID, p.Addrs); len(p.Addrs) > 0 {
				known = append(known, found{Provider: p})
			}
		}
		runs := r.providerRuns(c)
		if len(runs)+len(known) == 0 {
			yield(Provider{}, fmt.Errorf("routing: find providers of %s: %w", c, ErrNoSource))
			return
		}
		self := r.config.Host.ID()
		told := make(map[peer.ID]*tellings)
		for f, err := range race(ctx, r, "find providers of "+c.String(), known, runs) {
			if err != nil {
				yield(Provider{}, err)
				return
			}
			if told[f.ID] == nil {
				told[f.ID] = new(tellings)
			}
			if f.ID == self || !told[f.ID].isNews(f.Addrs) {
				continue
			}
			if f.keep {
				r.cache.add(c, f.Provider, false, time.Now())
			}
			if !yield(f.Provider, nil) {
				return
			}
		}
	}
}

// maxTellings is how often a look-up tells of the same provider: what the cache
// knows, what the DHT does, and one more.
const maxTellings = 3

// tellings are what was told of a provider.
type tellings struct {
	times int
	addrs []ma.Multiaddr
}

// isNews tells whether there's anything new in what is to be told, and takes it
// for told.
func (t *tellings) isNews(addrs []ma.Multiaddr) bool {
	isNew := t.times == 0
	for _, a := range addrs {
		isNew = isNew || !slices.ContainsFunc(t.addrs, a.Equal)
	}
	if !isNew || t.times == maxTellings {
		return false
	}
	t.times++
	t.addrs = append(t.addrs, addrs...)
	return true
}

// near is the scope of what is not the internet.
func (r *Router) near() scope {
	if r.config.Local {
		return scopeAny
	}
	return scopeNear
}

func (r *Router) providerRuns(c cid.Cid) (runs []run[found]) {
	add := func(name string, keep bool, do func(context.Context, cid.Cid, func(Provider) bool) error) {
		runs = append(runs, run[found]{name, func(ctx context.Context, emit func(found) bool) error {
			return do(ctx, c, func(p Provider) bool { return emit(found{p, keep}) })
		}})
	}
	for _, f := range r.config.Finders {
		add(f.Name(), false, func(ctx context.Context, c cid.Cid, emit func(Provider) bool) error {
			for p, err := range f.FindProviders(ctx, c) {
				if err != nil {
					return err
				}
				had := len(p.Addrs) > 0
				p.Addrs = r.near().clean(p.ID, p.Addrs)
				p.Source = f.Name()
				if !validID(p.ID) || had && len(p.Addrs) == 0 {
					continue
				}
				if !emit(p) {
					break
				}
			}
			return nil
		})
	}
	for _, t := range r.tables {
		add(t.source, true, t.providers)
	}
	for _, d := range r.delegated {
		add(d.name(), true, d.providers)
	}
	return runs
}

// Worked tells the router that a provider delivered: it is remembered longer,
// and comes first.
func (r *Router) Worked(c cid.Cid, p Provider) {
	r.cache.add(c, p, true, time.Now())
}

// Failed tells the router that a provider did not have c, or could not be
// reached: it is forgotten.
func (r *Router) Failed(c cid.Cid, id peer.ID) { r.cache.remove(c, id) }

// FindPeer asks all sources for a peer's addresses, and yields them as they
// come; only what brings something new. A peer that is connected comes first.
// It ends as FindProviders does. The DHT dials the peer on its way.
func (r *Router) FindPeer(ctx context.Context, id peer.ID) iter.Seq2[Peer, error] {
	return func(yield func(Peer, error) bool) {
		if !validID(id) {
			yield(Peer{}, errors.New("routing: find a peer: no peer id"))
			return
		}
		var known []Peer
		if h := r.config.Host; h.Network().Connectedness(id) == network.Connected {
			// Where it is connected, it is reached, whatever that address is.
			p := Peer{peer.AddrInfo{ID: id, Addrs: scopeAny.clean(id, h.Peerstore().Addrs(id))}, "connected"}
			if len(p.Addrs) > 0 {
				known = append(known, p)
			}
		}
		runs := r.peerRuns(id)
		if len(runs)+len(known) == 0 {
			yield(Peer{}, fmt.Errorf("routing: find the peer %s: %w", id, ErrNoSource))
			return
		}
		seen := make(map[string]bool)
		for p, err := range race(ctx, r, "find the peer "+id.String(), known, runs) {
			if err != nil {
				yield(Peer{}, err)
				return
			}
			isNew := false
			for _, a := range p.Addrs {
				if key := string(a.Bytes()); !seen[key] && len(seen) < maxFoundAddrs {
					seen[key] = true
					isNew = true
				}
			}
			if isNew && !yield(p, nil) {
				return
			}
		}
	}
}

// maxFoundAddrs bounds the addresses of one look-up: so many sources telling
// nothing but lies would still end.
const maxFoundAddrs = 256

func (r *Router) peerRuns(id peer.ID) (runs []run[Peer]) {
	for _, f := range r.config.Finders {
		f, ok := f.(PeerFinder)
		if !ok {
			continue
		}
		runs = append(runs, run[Peer]{f.Name(), func(ctx context.Context, emit func(Peer) bool) error {
			for p, err := range f.FindPeer(ctx, id) {
				if err != nil {
					return err
				}
				if p.Addrs = r.near().clean(id, p.Addrs); p.ID == id && len(p.Addrs) > 0 && !emit(Peer{p, f.Name()}) {
					break
				}
			}
			return nil
		}})
	}
	for _, t := range r.tables {
		runs = append(runs, run[Peer]{t.source, func(ctx context.Context, emit func(Peer) bool) error {
			return t.findPeer(ctx, id, emit)
		}})
	}
	for _, d := range r.delegated {
		runs = append(runs, run[Peer]{d.name(), func(ctx context.Context, emit func(Peer) bool) error {
			return d.peers(ctx, id, func(p Provider) bool {
				return len(p.Addrs) == 0 || emit(Peer{p.AddrInfo, p.Source})
			})
		}})
	}
	return runs
}

// ClosestPeers yields the peers of the DHT that are closest to a key, 20 of
// each DHT that is asked (Peer.Source tells which). The key is a multihash, the
// bytes of a peer id, or that of a record. It ends as FindProviders does.
func (r *Router) ClosestPeers(ctx context.Context, key string) iter.Seq2[Peer, error] {
	return func(yield func(Peer, error) bool) {
		var runs []run[Peer]
		for _, t := range r.tables {
			runs = append(runs, run[Peer]{t.source, func(ctx context.Context, emit func(Peer) bool) error {
				return t.closest(ctx, key, emit)
			}})
		}
		if len(r.tables) == 0 {
			if c, ok := asCID(key); ok {
				for _, d := range r.delegated {
					runs = append(runs, run[Peer]{d.name(), func(ctx context.Context, emit func(Peer) bool) error {
						return d.closest(ctx, c, func(p Provider) bool { return emit(Peer{p.AddrInfo, p.Source}) })
					}})
				}
			}
		}
		if len(runs) == 0 {
			yield(Peer{}, fmt.Errorf("routing: find the closest peers: %w", ErrNoSource))
			return
		}
		for p, err := range race(ctx, r, "find the closest peers", nil, runs) {
			if !yield(p, err) {
				return
			}
		}
	}
}

// asCID makes a CID of a key that is a multihash, which ids of peers are, too.
func asCID(key string) (cid.Cid, bool) {
	id, err := peer.IDFromBytes([]byte(key))
	if err != nil {
		return cid.Undef, false
	}
	return cid.NewCidV1(cid.Raw, []byte(id)), true
}
