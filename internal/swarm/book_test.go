package swarm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
)

// testRows are a rows.Store that fails with fail, if that is set.
type testRows struct {
	rows.Memory
	fail error
}

var _ rows.Store = (*testRows)(nil)

func (r *testRows) All(ctx context.Context, space string, prefix []byte) iter.Seq2[rows.Row, error] {
	if r.fail != nil {
		return func(yield func(rows.Row, error) bool) { yield(rows.Row{}, r.fail) }
	}
	return r.Memory.All(ctx, space, prefix)
}

func (r *testRows) Set(ctx context.Context, changes ...rows.Change) error {
	if r.fail != nil {
		return r.fail
	}
	return r.Memory.Set(ctx, changes...)
}

// get returns the row of a peer, nil if there is none.
func (r *testRows) get(id peer.ID) []byte {
	value, _, _ := r.Memory.Get(context.Background(), space, []byte(id)) // it never fails
	return value
}

func (r *testRows) set(id peer.ID, value []byte) {
	_ = r.Memory.Set(context.Background(), rows.Change{Space: space, Key: []byte(id), Value: value}) // it never fails
}

// newID returns the id of a peer that does not exist.
func newID(t testing.TB) peer.ID {
	t.Helper()
	id, err := test.RandPeerID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func loopbackAddr(port int) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port))
}

func keepNone(peer.ID) bool { return false }

func toStrings(addrs []ma.Multiaddr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

func TestBookOrderAndBackoff(t *testing.T) {
	b, id, now := newBook(keepNone), newID(t), time.Now()
	if !b.add(id, loopbackAddr(1), SourcePeer, now) || b.add(id, loopbackAddr(1), SourceMDNS, now) {
		t.Error("add: want true the first time only")
	}
	b.add(id, loopbackAddr(2), SourceUser, now)
	b.confirm(id, loopbackAddr(3), now) // new to the book
	want := []string{loopbackAddr(2).String(), loopbackAddr(3).String(), loopbackAddr(1).String()}
	if got := toStrings(b.dialable(id, now)); !slices.Equal(got, want) {
		t.Errorf("order: got %v, want %v", got, want)
	}
	b.fail(id, loopbackAddr(2), now)
	b.fail(id, loopbackAddr(3), now)
	if got, want := toStrings(b.dialable(id, now)), []string{loopbackAddr(1).String()}; !slices.Equal(got, want) {
		t.Errorf("after two failed: got %v, want %v", got, want)
	}
	b.fail(id, loopbackAddr(1), now)
	if got := b.dialable(id, now); len(got) != 3 {
		t.Errorf("after all failed: got %v, want all", got)
	}
	if got := b.dialable(id, now.Add(firstBackoff)); len(got) != 3 {
		t.Errorf("after the back-off: got %v, want all", got)
	}
	b.fail(id, loopbackAddr(1), now)
	if got := b.dialable(id, now.Add(firstBackoff)); len(got) != 2 {
		t.Errorf("after another failure: got %v, want the others", got)
	}
	b.confirm(id, loopbackAddr(1), now)
	if got := b.known(id)[1]; got.Failures != 0 || !got.Addr.Equal(loopbackAddr(1)) {
		t.Errorf("after a success: got %+v, want no failures", got)
	}
}

func TestBookDropsFailing(t *testing.T) {
	b, id, now := newBook(keepNone), newID(t), time.Now()
	b.add(id, loopbackAddr(1), SourcePeer, now)
	b.add(id, loopbackAddr(2), SourceUser, now)
	b.confirm(id, loopbackAddr(3), now)
	for range maxFailures {
		for port := 1; port <= 3; port++ {
			b.fail(id, loopbackAddr(port), now)
		}
	}
	if got := b.known(id); len(got) != 2 || got[0].Source != SourceUser || !got[1].Addr.Equal(loopbackAddr(3)) {
		t.Errorf("got %+v, want the operator's and the confirmed one", got)
	}
	b.fail(id, loopbackAddr(3), now.Add(confirmedFor+time.Second))
	if got := b.known(id); len(got) != 1 || got[0].Source != SourceUser {
		t.Errorf("a week later: got %+v, want the operator's", got)
	}
	other := newID(t)
	b.add(other, loopbackAddr(1), SourcePeer, now)
	for range maxFailures {
		b.fail(other, loopbackAddr(1), now)
	}
	if got := b.ids(); len(got) != 1 {
		t.Errorf("peers: got %d, want the one with an address", len(got))
	}
}

func TestBookIsBounded(t *testing.T) {
	keep := newID(t)
	b, now := newBook(func(id peer.ID) bool { return id == keep }), time.Now()
	b.add(keep, loopbackAddr(1), SourcePeer, now.Add(-time.Hour))
	confirmed := newID(t)
	b.confirm(confirmed, loopbackAddr(1), now.Add(-time.Hour))
	for i := range 2 * maxPeers {
		b.add(newID(t), loopbackAddr(1), SourcePeer, now.Add(time.Duration(i)))
	}
	if got := len(b.ids()); got > maxPeers || got < maxPeers*7/8 {
		t.Errorf("peers: got %d, want %d to %d", got, maxPeers*7/8, maxPeers)
	}
	for _, id := range []peer.ID{keep, confirmed} {
		if len(b.known(id)) == 0 {
			t.Error("a kept or confirmed peer was dropped")
		}
	}
	for port := 1; port <= 2*maxAddresses; port++ {
		b.add(keep, loopbackAddr(port), SourcePeer, now)
	}
	if got := len(b.known(keep)); got != maxAddresses {
		t.Errorf("addresses: got %d, want %d", got, maxAddresses)
	}
	b.confirm(keep, loopbackAddr(999), now)
	if got := b.known(keep); len(got) != maxAddresses || !got[0].Addr.Equal(loopbackAddr(999)) {
		t.Errorf("got %+v, want the confirmed one first", got)
	}
}

// TestBookWithoutStore: without Config.State the book keeps no list of peers to
// save.
func TestBookWithoutStore(t *testing.T) {
	s := newLocal(t, Config{Listen: []string{}})
	for range 2 * maxPeers {
		if err := s.AddAddr(newID(t), loopbackAddr(1), SourcePeer); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.book.dirty); got > 0 {
		t.Errorf("got %d peers to save, want none", got)
	}
}

func TestBookPrune(t *testing.T) {
	s := newLocal(t, Config{})
	now := time.Now()
	old, fresh, user := newID(t), newID(t), newID(t)
	s.book.add(old, loopbackAddr(1), SourcePeer, now.Add(-time.Hour))
	s.book.add(fresh, loopbackAddr(1), SourcePeer, now)
	s.book.add(user, loopbackAddr(1), SourceUser, now.Add(-time.Hour))
	if got := s.Prune(testContext(t), time.Minute); got != 1 || len(s.KnownAddrs(old)) != 0 {
		t.Errorf("pruned: got %d, want 1, the old one", got)
	}
	if len(s.Known()) != 2 {
		t.Errorf("known: got %v, want %v and %v", s.Known(), fresh, user)
	}
}

func TestBookIsSaved(t *testing.T) {
	store := new(testRows)
	b := newLocal(t, Config{})
	bad := newID(t)
	store.set(bad, []byte("{"))
	a := newLocal(t, Config{State: store})
	connect(t, a, b)
	if err := a.AddAddr(b.ID(), loopbackAddr(1), SourceUser); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	again := newLocal(t, Config{State: store})
	known := again.KnownAddrs(b.ID())
	if len(known) != 2 || known[0].Source != SourceUser || known[1].Confirmed.IsZero() {
		t.Errorf("got %+v, want the operator's and a confirmed one", known)
	}
	if got := again.KnownAddrs(bad); len(got) != 0 {
		t.Errorf("a damaged record: got %+v, want no addresses", got)
	}
	if err := again.Connect(testContext(t), peer.AddrInfo{ID: b.ID()}); err != nil {
		t.Errorf("connect with addresses from the book: %v", err)
	}
	again.Disconnect(b.ID())
	b.Close()
	// An address whose first dial fails only now is not dialled again at once.
	eventually(t, "both addresses have failed", func() bool {
		if err := again.Connect(testContext(t), peer.AddrInfo{ID: b.ID()}); err == nil {
			t.Fatal("connected to a peer that is closed")
		}
		got := again.KnownAddrs(b.ID())
		return len(got) == 2 && got[0].Failures > 0 && got[1].Failures > 0
	})
	if info := again.Peer(b.ID()); info.Failure == "" || info.FailedAt.IsZero() {
		t.Errorf("got %+v, want Failure and FailedAt set", info)
	}
}

func TestRowsFail(t *testing.T) {
	broken := errors.New("broken")
	store := new(testRows)
	store.fail = broken
	if _, err := New(context.Background(), Config{Local: true, Listen: []string{}, State: store}); !errors.Is(err, broken) {
		t.Errorf("load: got %v, want %v", err, broken)
	}
	store.fail = nil
	s, err := New(context.Background(), Config{Local: true, Listen: []string{}, State: store})
	if err != nil {
		t.Fatal(err)
	}
	store.fail = broken
	id := newID(t)
	if err := s.AddAddr(id, loopbackAddr(1), SourceUser); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, broken) {
		t.Errorf("save: got %v, want %v", err, broken)
	}
	store.fail = nil
	if err := s.book.save(context.Background(), store); err != nil || store.get(id) == nil {
		t.Errorf("second save: got %v, want the record that the first could not save", err)
	}
}

func FuzzRecord(f *testing.F) {
	good, err := encodeRecord([]Address{{Addr: loopbackAddr(1), Source: SourceUser, Confirmed: time.Unix(1, 0)}}, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"banned":true}`))
	f.Add([]byte(`{"addresses":[{"addr":"/ip4/1.2.3.4/udp/1/quic-v1","source":"x","failures":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		addresses, banned, err := decodeRecord(data)
		if err != nil {
			return
		}
		again, err := encodeRecord(addresses, banned)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > maxRecord {
			t.Fatalf("got %d bytes, want at most %d", len(again), maxRecord)
		}
		back, still, err := decodeRecord(again)
		if err != nil || len(back) != len(addresses) || still != banned {
			t.Fatalf("got %v, %v, %v, want %v, %v", back, still, err, addresses, banned)
		}
		for i := range back {
			if !back[i].Addr.Equal(addresses[i].Addr) || !back[i].Confirmed.Equal(addresses[i].Confirmed) {
				t.Fatalf("got %v, want %v", back[i], addresses[i])
			}
		}
	})
}

// TestBanOutlivesAddresses reads a record with an address of an unknown protocol
// and one out of bounds: the ban and the other address stay.
func TestBanOutlivesAddresses(t *testing.T) {
	data := []byte(`{"banned":true,"addresses":[{"addr":"/ip9/1/carrier-pigeon/2","source":"peer"},` +
		`{"addr":"/ip4/1.2.3.4/tcp/4","source":"peer","failures":-1},{"addr":"/ip4/1.2.3.4/tcp/5","source":"peer"}]}`)
	addresses, banned, err := decodeRecord(data)
	if err != nil || !banned || len(addresses) != 1 || addresses[0].Addr.String() != "/ip4/1.2.3.4/tcp/5" {
		t.Errorf("got %v, %v, %v, want the valid address and the ban", addresses, banned, err)
	}
}

// TestBanIsSaved bans peers, one of them with addresses, and opens the swarm again
// without closing the first.
func TestBanIsSaved(t *testing.T) {
	store := new(testRows)
	a, b := newLocal(t, Config{State: store}), newLocal(t, Config{})
	stranger := newID(t)
	connect(t, a, b)
	for _, id := range []peer.ID{b.ID(), stranger, stranger} {
		if err := a.Ban(id); err != nil {
			t.Fatal(err)
		}
	}
	again := newLocal(t, Config{State: store})
	if got, want := again.Banned(), slices.Sorted(slices.Values([]peer.ID{b.ID(), stranger})); !slices.Equal(got, want) {
		t.Errorf("banned: got %v, want %v", got, want)
	}
	if err := again.Connect(testContext(t), b.AddrInfo()); !errors.Is(err, ErrBanned) {
		t.Errorf("connect: got %v, want %v", err, ErrBanned)
	}
	if err := again.Unban(b.ID()); err != nil {
		t.Fatal(err)
	}
	if err := again.Unban(stranger); err != nil || store.get(stranger) != nil {
		t.Errorf("unban: got %v and the record %q, want none", err, store.get(stranger))
	}
	last := newLocal(t, Config{State: store})
	if got := last.Banned(); len(got) != 0 {
		t.Errorf("banned after Unban: got %v, want none", got)
	}
	if err := last.Connect(testContext(t), peer.AddrInfo{ID: b.ID()}); err != nil {
		t.Errorf("connect with addresses from the book after Unban: %v", err)
	}
	for _, bad := range []peer.ID{"", last.ID()} {
		if err := last.Ban(bad); err == nil {
			t.Errorf("ban %q: got no error, want one", string(bad))
		}
	}
}

// TestBanOfLongAddresses bans a peer whose addresses have the greatest length as
// bytes, and exceed a record as text: the ban outlives the swarm.
func TestBanOfLongAddresses(t *testing.T) {
	store := new(testRows)
	a, long := newLocal(t, Config{State: store}), newID(t)
	for port := range maxAddresses {
		// A name of 18 bytes with a code of two.
		addr := loopbackAddr(port+1).String() + strings.Repeat("/p2p-webrtc-direct", (maxAddress-8)/2)
		if err := a.AddAddr(long, ma.StringCast(addr), SourcePeer); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Ban(long); err != nil {
		t.Fatal(err)
	}
	if n := len(store.get(long)); n > maxRecord {
		t.Errorf("got a record of %d bytes, want at most %d", n, maxRecord)
	}
	again := newLocal(t, Config{State: store})
	if got := again.Banned(); !slices.Equal(got, []peer.ID{long}) {
		t.Errorf("banned: got %v, want %v", got, long)
	}
	if got := again.KnownAddrs(long); len(got) == 0 {
		t.Error("got none of the peer's addresses, want as many as fit")
	}
}

// TestBansAreBounded: ban refuses peers beyond the bound.
func TestBansAreBounded(t *testing.T) {
	b := newBook(func(peer.ID) bool { return false })
	for i := range maxBanned {
		if !b.ban(peer.ID(fmt.Sprint(i))) {
			t.Fatalf("ban %d: got no room", i)
		}
	}
	if b.ban("one more") || !b.ban("0") || b.isBanned("one more") {
		t.Errorf("got room for more than %d", maxBanned)
	}
	b.unban("0")
	if !b.ban("one more") {
		t.Error("got no room after an unban")
	}
}
