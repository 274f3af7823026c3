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

// A Source is where an address is known from.
type Source string

// The sources of addresses.
const (
	// SourceUser: the operator said so. Such an address is never dropped.
	SourceUser Source = "user"
	// SourceMDNS: the peer announced it in the local network.
	SourceMDNS Source = "mdns"
	// SourcePeer: the peer itself told us over a connection (identify).
	SourcePeer Source = "peer"
	// SourceRouting: a routing system said so (the DHT, a delegated router).
	SourceRouting Source = "routing"
	// SourceDial: somebody dialled it, and it answered.
	SourceDial Source = "dial"
)

// An Address is one at which a peer may be found.
type Address struct {
	Addr   ma.Multiaddr
	Source Source
	// Confirmed is when a dial to it last succeeded; zero: never.
	Confirmed time.Time
	// Failures counts the dials that failed since; Failed is when the last one
	// did.
	Failures int
	Failed   time.Time
}

const (
	// maxPeers bounds the book: ten times what a node is connected to.
	maxPeers = 1024
	// maxBanned bounds those that are banned, which the operator, or a program of
	// his, says one by one.
	maxBanned = 16_384
	// maxAddresses bounds what is kept of one peer. A well connected one has
	// about ten.
	maxAddresses = 16
	// maxAddress bounds an address, in bytes. WebTransport ones carry two
	// hashes, those of relays two peer ids.
	maxAddress = 512
	// maxSource bounds the name of a source, in bytes.
	maxSource = 32

	// firstBackoff is how long an address that failed is avoided, if there are
	// others; it doubles with each failure up to maxBackoff.
	firstBackoff = 30 * time.Second
	maxBackoff   = 6 * time.Hour

	// maxFailures is how many dials in a row may fail before an address is
	// dropped. One that was confirmed is kept for as long as confirmedFor,
	// since a machine that is off for the weekend comes back.
	maxFailures  = 5
	confirmedFor = 7 * 24 * time.Hour
)

// A bookEntry is what the book knows of one peer.
type bookEntry struct {
	addresses []Address
	used      time.Time // when something was last learned
	failure   string    // why the last dial failed; "": it didn't
	failed    time.Time
}

// A book holds addresses of peers, and who is banned.
type book struct {
	saving sync.Mutex // one save at a time, so that the latest is the last

	mu     sync.Mutex // guards what follows
	peers  map[peer.ID]*bookEntry
	banned map[peer.ID]struct{}
	dirty  map[peer.ID]struct{} // changed since it was taken to be saved; nil: it never is
	// keep says whose entry is not to be dropped for want of room.
	keep func(peer.ID) bool
}

func newBook(keep func(peer.ID) bool) *book {
	return &book{
		peers: make(map[peer.ID]*bookEntry), banned: make(map[peer.ID]struct{}), dirty: make(map[peer.ID]struct{}), keep: keep,
	}
}

// changed notes that a peer's record is to be saved; b.mu is held.
func (b *book) changed(id peer.ID) {
	if b.dirty != nil {
		b.dirty[id] = struct{}{}
	}
}

// ban notes that a peer is banned. It tells whether there was room for that.
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
	b.changed(id)
	return true
}

func (b *book) unban(id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, banned := b.banned[id]; banned {
		delete(b.banned, id)
		b.changed(id)
	}
}

// isBanned tells whether a peer is banned.
func (b *book) isBanned(id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, banned := b.banned[id]
	return banned
}

// bans returns who is banned, in order.
func (b *book) bans() []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.banned))
}

// entry returns the peer's, made if it must be; b.mu is held.
func (b *book) entry(id peer.ID, now time.Time) *bookEntry {
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

// makeRoom drops a sixteenth of the peers, those of which least good is known;
// b.mu is held.
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

// drop forgets a peer; b.mu is held.
func (b *book) drop(id peer.ID) {
	delete(b.peers, id)
	b.changed(id)
}

// find returns the address in the entry, or nil.
func (e *bookEntry) find(addr ma.Multiaddr) *Address {
	i := slices.IndexFunc(e.addresses, func(a Address) bool { return a.Addr.Equal(addr) })
	if i < 0 {
		return nil
	}
	return &e.addresses[i]
}

// insert adds an address, in place of the worst if there are too many. It
// returns nil if the new one is the worst itself.
func (e *bookEntry) insert(a Address) *Address {
	e.addresses = append(e.addresses, a)
	slices.SortStableFunc(e.addresses, betterAddress)
	if len(e.addresses) > maxAddresses {
		e.addresses = e.addresses[:maxAddresses]
	}
	return e.find(a.Addr)
}

// betterAddress orders the operator's first, then those that answered, the
// latest first, then those that failed least.
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

// add learns an address. It tells whether it was new.
func (b *book) add(id peer.ID, addr ma.Multiaddr, source Source, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id, now)
	if a := e.find(addr); a != nil {
		if source == SourceUser && a.Source != SourceUser {
			a.Source = SourceUser
			b.changed(id)
		}
		return false
	}
	if e.insert(Address{Addr: addr, Source: source}) == nil {
		return false
	}
	b.changed(id)
	return true
}

// confirm learns that a dial to the address succeeded.
func (b *book) confirm(id peer.ID, addr ma.Multiaddr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id, now)
	e.failure, e.failed = "", time.Time{}
	a := e.find(addr)
	if a == nil {
		a = e.insert(Address{Addr: addr, Source: SourceDial, Confirmed: now})
	}
	if a != nil {
		a.Confirmed, a.Failures, a.Failed = now, 0, time.Time{}
	}
	b.changed(id)
}

// fail learns that a dial to the address failed.
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
	b.changed(id)
	if a.Source != SourceUser && a.Failures >= maxFailures && now.Sub(a.Confirmed) > confirmedFor {
		e.addresses = slices.DeleteFunc(e.addresses, func(a Address) bool { return a.Addr.Equal(addr) })
	}
	if len(e.addresses) == 0 && !b.keep(id) {
		b.drop(id)
	}
}

// blame remembers why the peer could not be reached, if anything is known of
// the peer.
func (b *book) blame(id peer.ID, why error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.peers[id]; e != nil {
		e.failure, e.failed = why.Error(), now
	}
}

// avoided tells whether the address failed so lately that others come first.
func (a Address) avoided(now time.Time) bool {
	if a.Failures == 0 {
		return false
	}
	backoff := min(firstBackoff<<min(a.Failures-1, 16), maxBackoff)
	return now.Before(a.Failed.Add(backoff))
}

// dialable returns the addresses to dial, best first: those that have not
// failed lately, or all if there are no others.
func (b *book) dialable(id peer.ID, now time.Time) []ma.Multiaddr {
	var good, all []ma.Multiaddr
	for _, a := range b.known(id) {
		all = append(all, a.Addr)
		if !a.avoided(now) {
			good = append(good, a.Addr)
		}
	}
	if len(good) > 0 {
		return good
	}
	return all
}

// known returns what is known of the peer's addresses, best first.
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

// lastFailure returns why and when the last dial of the peer failed.
func (b *book) lastFailure(id peer.ID) (string, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.peers[id]; e != nil {
		return e.failure, e.failed
	}
	return "", time.Time{}
}

// ids returns who is in the book.
func (b *book) ids() []peer.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []peer.ID
	for id := range b.peers {
		all = append(all, id)
	}
	return all
}

// prune forgets who was not reached since the moment given, and returns how
// many that were.
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
