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

// A candidate is a provider that a source found, before it is yielded.
type candidate struct {
	Provider
	keep bool // in the cache
}

// FindProviders asks all sources for providers of c. It yields each provider as
// soon as one source reports it, and again if another reports a new address,
// three times at most. Cached providers come first.
//
// The lookup ends when the caller stops ranging, with the context, or after
// Limits.Lookup. No provider and no error means that no source knows any. An
// error is the last value yielded. ErrNoSource means that the cache has none and
// this mode has no source to ask.
func (r *Router) FindProviders(ctx context.Context, c cid.Cid) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		if !c.Defined() {
			yield(Provider{}, errors.New("routing: find providers: no CID"))
			return
		}
		var known []candidate
		for _, p := range r.cache.get(c, time.Now()) {
			if p.Addrs = r.nearScope().clean(p.ID, p.Addrs); len(p.Addrs) > 0 {
				known = append(known, candidate{Provider: p})
			}
		}
		tasks := r.providerTasks(c)
		if len(tasks)+len(known) == 0 {
			yield(Provider{}, fmt.Errorf("routing: find providers of %s: %w", c, ErrNoSource))
			return
		}
		self := r.config.Host.ID()
		yielded := make(map[peer.ID]*reports)
		for f, err := range race(ctx, r, "find providers of "+c.String(), known, tasks) {
			if err != nil {
				yield(Provider{}, err)
				return
			}
			if yielded[f.ID] == nil {
				yielded[f.ID] = new(reports)
			}
			if f.ID == self || !yielded[f.ID].add(f.Addrs) {
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

// maxReports bounds how often a lookup yields the same provider: from the cache,
// from the DHT, and once more.
const maxReports = 3

// reports are what a lookup has yielded of one provider.
type reports struct {
	count int
	addrs []ma.Multiaddr
}

// add adds a report, and returns whether it has anything new and may be yielded.
func (r *reports) add(addrs []ma.Multiaddr) bool {
	isNew := r.count == 0
	for _, a := range addrs {
		isNew = isNew || !slices.ContainsFunc(r.addrs, a.Equal)
	}
	if !isNew || r.count == maxReports {
		return false
	}
	r.count++
	r.addrs = append(r.addrs, addrs...)
	return true
}

// nearScope returns the scope of sources other than the internet.
func (r *Router) nearScope() scope {
	if r.config.Local {
		return scopeAny
	}
	return scopeNear
}

func (r *Router) providerTasks(c cid.Cid) (tasks []task[candidate]) {
	add := func(name string, keep bool, do func(context.Context, cid.Cid, func(Provider) bool) error) {
		tasks = append(tasks, task[candidate]{name, func(ctx context.Context, emit func(candidate) bool) error {
			return do(ctx, c, func(p Provider) bool { return emit(candidate{p, keep}) })
		}})
	}
	for _, f := range r.config.Finders {
		add(f.Name(), false, func(ctx context.Context, c cid.Cid, emit func(Provider) bool) error {
			for p, err := range f.FindProviders(ctx, c) {
				if err != nil {
					return err
				}
				had := len(p.Addrs) > 0
				p.Addrs = r.nearScope().clean(p.ID, p.Addrs)
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
		add(t.source, true, t.findProviders)
	}
	for _, d := range r.delegated {
		add(d.name(), true, d.findProviders)
	}
	return tasks
}

// ReportSuccess reports that a provider delivered c. The cache keeps it longer,
// and yields it first.
func (r *Router) ReportSuccess(c cid.Cid, p Provider) {
	r.cache.add(c, p, true, time.Now())
}

// ReportFailure reports that a provider did not have c, or could not be reached.
// The cache drops it.
func (r *Router) ReportFailure(c cid.Cid, id peer.ID) { r.cache.remove(c, id) }

// FindPeer asks all sources for a peer's addresses, and yields each answer that
// has a new address. The addresses of a connected peer come first. FindPeer ends
// as FindProviders does. The DHT dials the peer during its lookup.
func (r *Router) FindPeer(ctx context.Context, id peer.ID) iter.Seq2[Peer, error] {
	return func(yield func(Peer, error) bool) {
		if !validID(id) {
			yield(Peer{}, errors.New("routing: find a peer: invalid peer id"))
			return
		}
		var known []Peer
		if h := r.config.Host; h.Network().Connectedness(id) == network.Connected {
			// A connection proves that its address works, in whatever scope it is.
			p := Peer{peer.AddrInfo{ID: id, Addrs: scopeAny.clean(id, h.Peerstore().Addrs(id))}, "connected"}
			if len(p.Addrs) > 0 {
				known = append(known, p)
			}
		}
		tasks := r.peerTasks(id)
		if len(tasks)+len(known) == 0 {
			yield(Peer{}, fmt.Errorf("routing: find the peer %s: %w", id, ErrNoSource))
			return
		}
		seen := make(map[string]bool)
		for p, err := range race(ctx, r, "find the peer "+id.String(), known, tasks) {
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

// maxFoundAddrs bounds the addresses that one lookup of a peer yields, so that
// it ends even if all its sources lie.
const maxFoundAddrs = 256

func (r *Router) peerTasks(id peer.ID) (tasks []task[Peer]) {
	for _, f := range r.config.Finders {
		f, ok := f.(PeerFinder)
		if !ok {
			continue
		}
		tasks = append(tasks, task[Peer]{f.Name(), func(ctx context.Context, emit func(Peer) bool) error {
			for p, err := range f.FindPeer(ctx, id) {
				if err != nil {
					return err
				}
				if p.Addrs = r.nearScope().clean(id, p.Addrs); p.ID == id && len(p.Addrs) > 0 && !emit(Peer{p, f.Name()}) {
					break
				}
			}
			return nil
		}})
	}
	for _, t := range r.tables {
		tasks = append(tasks, task[Peer]{t.source, func(ctx context.Context, emit func(Peer) bool) error {
			return t.findPeer(ctx, id, emit)
		}})
	}
	for _, d := range r.delegated {
		tasks = append(tasks, task[Peer]{d.name(), func(ctx context.Context, emit func(Peer) bool) error {
			return d.findPeer(ctx, id, func(p Provider) bool {
				return len(p.Addrs) == 0 || emit(Peer{p.AddrInfo, p.Source})
			})
		}})
	}
	return tasks
}

// ClosestPeers yields the DHT peers closest to a key, 20 from each DHT
// (Peer.Source names it). The key is a multihash, the bytes of a peer id, or a
// record's key. ClosestPeers ends as FindProviders does.
func (r *Router) ClosestPeers(ctx context.Context, key string) iter.Seq2[Peer, error] {
	return func(yield func(Peer, error) bool) {
		var tasks []task[Peer]
		for _, t := range r.tables {
			tasks = append(tasks, task[Peer]{t.source, func(ctx context.Context, emit func(Peer) bool) error {
				return t.closestPeers(ctx, key, emit)
			}})
		}
		if len(r.tables) == 0 {
			if c, ok := asCID(key); ok {
				for _, d := range r.delegated {
					tasks = append(tasks, task[Peer]{d.name(), func(ctx context.Context, emit func(Peer) bool) error {
						return d.closestPeers(ctx, c, func(p Provider) bool { return emit(Peer{p.AddrInfo, p.Source}) })
					}})
				}
			}
		}
		if len(tasks) == 0 {
			yield(Peer{}, fmt.Errorf("routing: find the closest peers: %w", ErrNoSource))
			return
		}
		for p, err := range race(ctx, r, "find the closest peers", nil, tasks) {
			if !yield(p, err) {
				return
			}
		}
	}
}

// asCID makes a CID of a key that is a multihash. Peer ids are multihashes, too.
func asCID(key string) (cid.Cid, bool) {
	id, err := peer.IDFromBytes([]byte(key))
	if err != nil {
		return cid.Undef, false
	}
	return cid.NewCidV1(cid.Raw, []byte(id)), true
}
