package swarm

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A Source says where an address comes from.
type Source string

// The sources of addresses.
const (
	// SourceUser is the operator. Such an address is never dropped.
	SourceUser Source = "user"
	// SourceMDNS is the peer's announcement in the local network.
	SourceMDNS Source = "mdns"
	// SourcePeer is the peer itself, over a connection (identify).
	SourcePeer Source = "peer"
	// SourceRouting is a routing system: the DHT or a delegated router.
	SourceRouting Source = "routing"
	// SourceDial is a dial that succeeded.
	SourceDial Source = "dial"
)

// An Address is an address of a peer in the address book.
type Address struct {
	Addr   ma.Multiaddr
	Source Source
	// Confirmed is when a dial to it last succeeded; zero: never.
	Confirmed time.Time
	// Failures counts the failed dials since, Failed is the time of the last one.
	Failures int
	Failed   time.Time
}

const (
	// maxPeers bounds the peers with addresses: ten times the connections of a
	// node.
	maxPeers = 1024
	// maxBanned bounds the banned peers. The operator, or a program of the
	// operator's, bans them one by one.
	maxBanned = 16_384
	// maxAddresses bounds the addresses of one peer. A well connected one has about
	// ten.
	maxAddresses = 16
	// maxAddress bounds an address, in bytes. One for WebTransport has two hashes,
	// one through a relay two peer ids.
	maxAddress = 512
	// maxSource bounds the name of a source, in bytes.
	maxSource = 32

	// firstBackoff is how long a failed address is avoided if there are others; it
	// doubles with each failure up to maxBackoff.
	firstBackoff = 30 * time.Second
	maxBackoff   = 6 * time.Hour

	// maxFailures is the number of failed dials in a row that drop an address. A
	// confirmed address is kept for confirmedFor in any case: a machine may be off
	// for the weekend.
	maxFailures  = 5
	confirmedFor = 7 * 24 * time.Hour
)

// A bookEntry has the addresses of one peer.
type bookEntry struct {
	addresses []Address
	used      time.Time // of the last change or report
	failure   string    // why the last dial failed; "": it didn't
	failed    time.Time
}

// A book is an address book. It also has the banned peers.
type book struct {
	saving sync.Mutex // held for a whole save, so that the last one wins

	mu     sync.Mutex // guards the following
	peers  map[peer.ID]*bookEntry
	banned map[peer.ID]struct{}
	dirty  map[peer.ID]struct{} // to be saved; nil: the book is never saved
	// keep reports whether a peer's entry must not be dropped to make room.
	keep func(peer.ID) bool
}

func newBook(keep func(peer.ID) bool) *book {
	return &book{
		peers: make(map[peer.ID]*bookEntry), banned: make(map[peer.ID]struct{}), dirty: make(map[peer.ID]struct{}), keep: keep,
	}
}

// markDirty marks a peer's record for the next save. The caller holds b.mu.
func (b *book) markDirty(id peer.ID) {
	if b.dirty != nil {
		b.dirty[id] = struct{}{}
	}
}

// ban bans a peer. It returns false if too many are banned.
func (b *book) ban(id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, already := b.banned[id]; already {
		return true
	}
	if len(b.banned) >= maxBanned {
		return false
	}
	b.banned[id] = struct{}{}
	b.markDirty(id)
	return true
}

func (b *book) unban(id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, banned := b.banned[id]; banned {
		delete(b.banned, id)
		b.markDirty(id)
	}
}

// isBanned reports whether a peer is banned.
func (b *book) isBanned(id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, banned := b.banned[id]
	return banned
}

// listBanned returns the banned peers, in order.
func (b *book) listBanned() []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.banned))
}

// getOrAdd returns the peer's entry, a new one if there is none. The caller holds
// b.mu.
func (b *book) getOrAdd(id peer.ID, now time.Time) *bookEntry {
	e := b.peers[id]
	if e == nil {
		if len(b.peers) >= maxPeers {
			b.makeRoom()
		}
		e = &bookEntry{}
		b.peers[id] = e
	}
	e.used = now
	return e
}

// makeRoom drops a sixteenth of the peers: first those without a confirmed
// address, then the least recently used. The caller holds b.mu.
func (b *book) makeRoom() {
	type candidate struct {
		id        peer.ID
		confirmed bool
		used      time.Time
	}
	var all []candidate
	for id, e := range b.peers {
		if !b.keep(id) {
			confirmed := slices.ContainsFunc(e.addresses, func(a Address) bool {
				return !a.Confirmed.IsZero() || a.Source == SourceUser
			})
			all = append(all, candidate{id, confirmed, e.used})
		}
	}
	slices.SortFunc(all, func(x, y candidate) int {
		if x.confirmed != y.confirmed {
			if y.confirmed {
				return -1
			}
			return 1
		}
		return x.used.Compare(y.used)
	})
	for _, c := range all[:min(len(all), maxPeers/16)] {
		b.drop(c.id)
	}
}

// drop removes a peer's addresses. The caller holds b.mu.
func (b *book) drop(id peer.ID) {
	delete(b.peers, id)
	b.markDirty(id)
}

// find returns the address in the entry, or nil.
func (e *bookEntry) find(addr ma.Multiaddr) *Address {
	i := slices.IndexFunc(e.addresses, func(a Address) bool { return a.Addr.Equal(addr) })
	if i < 0 {
		return nil
	}
	return &e.addresses[i]
}

// insert adds an address. If there are too many, it drops the worst, and returns
// nil if that is the new one.
func (e *bookEntry) insert(a Address) *Address {
	e.addresses = append(e.addresses, a)
	slices.SortStableFunc(e.addresses, betterAddress)
	if len(e.addresses) > maxAddresses {
		e.addresses = e.addresses[:maxAddresses]
	}
	return e.find(a.Addr)
}

// betterAddress orders addresses: the operator's first, then by the time of their
// last success, then by their failures.
func betterAddress(x, y Address) int {
	if xu, yu := x.Source == SourceUser, y.Source == SourceUser; xu != yu {
		if xu {
			return -1
		}
		return 1
	}
	if c := y.Confirmed.Compare(x.Confirmed); c != 0 {
		return c
	}
	return cmp.Compare(x.Failures, y.Failures)
}

// add adds an address, and reports whether it was new.
func (b *book) add(id peer.ID, addr ma.Multiaddr, source Source, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.getOrAdd(id, now)
	if a := e.find(addr); a != nil {
		if source == SourceUser && a.Source != SourceUser {
			a.Source = SourceUser
			b.markDirty(id)
		}
		return false
	}
	if e.insert(Address{Addr: addr, Source: source}) == nil {
		return false
	}
	b.markDirty(id)
	return true
}

// confirm records a successful dial to an address.
func (b *book) confirm(id peer.ID, addr ma.Multiaddr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.getOrAdd(id, now)
	e.failure, e.failed = "", time.Time{}
	a := e.find(addr)
	if a == nil {
		a = e.insert(Address{Addr: addr, Source: SourceDial, Confirmed: now})
	}
	if a != nil {
		a.Confirmed, a.Failures, a.Failed = now, 0, time.Time{}
	}
	b.markDirty(id)
}

// fail records a failed dial to an address.
func (b *book) fail(id peer.ID, addr ma.Multiaddr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.peers[id]
	if e == nil {
		return
	}
	a := e.find(addr)
	if a == nil {
		return
	}
	a.Failures++
	a.Failed = now
	b.markDirty(id)
	if a.Source != SourceUser && a.Failures >= maxFailures && now.Sub(a.Confirmed) > confirmedFor {
		e.addresses = slices.DeleteFunc(e.addresses, func(a Address) bool { return a.Addr.Equal(addr) })
	}
	if len(e.addresses) == 0 && !b.keep(id) {
		b.drop(id)
	}
}

// setFailure records why a peer could not be reached, if the peer is in the book.
func (b *book) setFailure(id peer.ID, why error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.peers[id]; e != nil {
		e.failure, e.failed = why.Error(), now
	}
}

// isAvoided reports whether the address failed recently, so that others come
// first.
func (a Address) isAvoided(now time.Time) bool {
	if a.Failures == 0 {
		return false
	}
	backoff := min(firstBackoff<<min(a.Failures-1, 16), maxBackoff)
	return now.Before(a.Failed.Add(backoff))
}

// dialable returns the addresses to dial, best first: those that have not failed
// recently, or all if there are no others.
func (b *book) dialable(id peer.ID, now time.Time) []ma.Multiaddr {
	var good, all []ma.Multiaddr
	for _, a := range b.known(id) {
		all = append(all, a.Addr)
		if !a.isAvoided(now) {
			good = append(good, a.Addr)
		}
	}
	if len(good) > 0 {
		return good
	}
	return all
}

// known returns the peer's addresses, best first.
func (b *book) known(id peer.ID) []Address {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.peers[id]
	if e == nil {
		return nil
	}
	all := slices.Clone(e.addresses)
	slices.SortStableFunc(all, betterAddress)
	return all
}

// lastFailure returns the reason and the time of the peer's last failure.
func (b *book) lastFailure(id peer.ID) (string, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.peers[id]; e != nil {
		return e.failure, e.failed
	}
	return "", time.Time{}
}

// ids returns the peers that have addresses.
func (b *book) ids() []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []peer.ID
	for id := range b.peers {
		all = append(all, id)
	}
	return all
}

// prune drops the peers that were neither reached nor reported since the given
// time, and returns their number.
func (b *book) prune(since time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for id, e := range b.peers {
		good := slices.ContainsFunc(e.addresses, func(a Address) bool {
			return a.Source == SourceUser || a.Confirmed.After(since)
		})
		if !good && !e.used.After(since) && !b.keep(id) {
			b.drop(id)
			n++
		}
	}
	return n
}
