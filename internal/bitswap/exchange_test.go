package bitswap

import (
	"context"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/block"
)

var large = flag.Bool("large", false, "move 1 GiB where 64 MiB are moved otherwise")

// servers are the peers that our client is tested with: each returns a peer
// that has the blocks.
var servers = []struct {
	name string
	make func(t testing.TB, client *node, all []block.Block) peer.ID
}{
	{"cairn", func(t testing.TB, client *node, all []block.Block) peer.ID {
		server := newNode(t, Config{})
		server.put(t, all...)
		connect(t, client.host, server.host)
		return server.host.ID()
	}},
	{"boxo", func(t testing.TB, client *node, all []block.Block) peer.ID {
		server := newBoxo(t)
		server.put(t, all...)
		connect(t, client.host, server.host)
		return server.host.ID()
	}},
}

// sets are the blocks that are moved.
var sets = []struct {
	name string
	make func(t testing.TB) []block.Block
}{
	{"one block", func(t testing.TB) []block.Block { return randomBlocks(t, 1, 1, 1000) }},
	{"CIDv0 and v1", func(t testing.TB) []block.Block {
		return []block.Block{v0(t, []byte("zero")), v0(t, []byte("another")), raw(t, []byte("one"))}
	}},
	{"a file in 256 KiB", func(t testing.TB) []block.Block { return randomBlocks(t, 2, fileSize()>>18, 256<<10) }},
	{"a file in 1 MiB", func(t testing.TB) []block.Block { return randomBlocks(t, 3, fileSize()>>20, 1<<20) }},
	{"a wide directory", func(t testing.TB) []block.Block { return randomBlocks(t, 4, 5000, 700) }},
	{"blocks of 2 MiB", func(t testing.TB) []block.Block { return randomBlocks(t, 5, 3, block.MaxSize) }},
	{"3,000 wants", func(t testing.TB) []block.Block { return randomBlocks(t, 6, 3000, 2000) }},
}

func fileSize() int {
	switch {
	case *large:
		return 1 << 30
	case testing.Short():
		return 8 << 20
	}
	return 64 << 20
}

func bytesOf(all []block.Block) (n int64) {
	for _, b := range all {
		n += int64(b.Size())
	}
	return n
}

// TestFetch moves sets to our client.
func TestFetch(t *testing.T) {
	for _, server := range servers {
		for _, set := range sets {
			t.Run(set.name+" from "+server.name, func(t *testing.T) {
				all := set.make(t)
				client := newNode(t, Config{})
				p := server.make(t, client, all)
				fetch(t, client.open(t, p), all)
				want := peerState{wantedBytes: bytesOf(all)}
				if got, _ := client.state(p); got != want {
					t.Errorf("got the state %+v, want %+v", got, want)
				}
			})
		}
	}
}

// TestServe moves sets to boxo's client.
func TestServe(t *testing.T) {
	for _, set := range sets {
		t.Run(set.name, func(t *testing.T) {
			all := set.make(t)
			server, client := newNode(t, Config{}), newBoxo(t)
			server.put(t, all...)
			connect(t, client.host, server.host)
			getAll(t, client, all)
		})
	}
}

// getAll fetches blocks with boxo's client.
func getAll(t testing.TB, client *boxoNode, all []block.Block) {
	t.Helper()
	missing := make(map[cid.Cid]bool, len(all))
	for _, b := range all {
		missing[b.CID()] = true
	}
	got, err := client.GetBlocks(t.Context(), cids(all))
	if err != nil {
		t.Fatal(err)
	}
	var last blocks.Block
	for last = range got {
		delete(missing, last.Cid())
	}
	if len(missing) > 0 {
		t.Errorf("got all but %d of %d blocks, the last %v", len(missing), len(all), last)
	}
}

// TestChain asks for each block after the one before.
func TestChain(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			chain := randomBlocks(t, 1, 2000, 240)
			client := newNode(t, Config{})
			c := client.open(t, server.make(t, client, chain))
			for _, b := range chain {
				fetch(t, c, []block.Block{b})
			}
		})
	}
}

// TestVersions asks for blocks by another CID than the server has.
func TestVersions(t *testing.T) {
	old := v0(t, []byte("\x0a\x02hi"))
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			client := newNode(t, Config{})
			c := client.open(t, server.make(t, client, []block.Block{old}))
			// Both at once: one want is sent, and both have a reply.
			names := []cid.Cid{block.V1(old.CID()), old.CID()}
			if err := c.Want(WantBlock, true, 0, names...); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if reply := next(t, c); reply.Kind != Block || reply.CID != name || reply.Block.CID() != name {
					t.Errorf("got kind %d, %s, block %s, want the block %s", reply.Kind, reply.CID, reply.Block.CID(), name)
				}
			}
		})
	}
}

// TestLocal asks for blocks that need not be asked of a peer.
func TestLocal(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			client := newNode(t, Config{})
			p := server.make(t, client, nil)
			c := client.open(t, p)
			identity, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: block.DagCBOR, MhType: block.Identity, MhLength: -1}, []byte("inline"))
			if err != nil {
				t.Fatal(err)
			}
			fetch(t, c, []block.Block{raw(t, nil), identity, v0(t, nil)})
			if got, _ := client.state(p); got != (peerState{}) {
				t.Errorf("got the state %+v, want nothing asked for", got)
			}
		})
	}
}

// TestServeEmpty serves an empty block to boxo's client.
func TestServeEmpty(t *testing.T) {
	empty := raw(t, nil)
	server, client := newNode(t, Config{}), newBoxo(t)
	server.put(t, empty)
	connect(t, client.host, server.host)
	getAll(t, client, []block.Block{empty})
}

// TestPresence asks for presences.
func TestPresence(t *testing.T) {
	small, big, absent := raw(t, []byte("small")), randomBlocks(t, 1, 1, 100<<10)[0], raw(t, []byte("absent"))
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			client := newNode(t, Config{})
			c := client.open(t, server.make(t, client, []block.Block{small, big}))
			for _, tt := range []struct {
				kind Want
				cid  cid.Cid
				want ReplyKind
			}{
				{WantHave, small.CID(), Block}, // costs less than to ask twice
				{WantHave, big.CID(), Have},
				{WantHave, absent.CID(), DontHave},
				{WantBlock, absent.CID(), DontHave},
				{WantBlock, big.CID(), Block},
				{WantHave, big.CID(), Have},
			} {
				if err := c.Want(tt.kind, true, 0, tt.cid); err != nil {
					t.Fatal(err)
				}
				if reply := next(t, c); reply.Kind != tt.want || reply.CID != tt.cid {
					t.Errorf("want %d of %s: got %d, %s, want %d", tt.kind, tt.cid, reply.Kind, reply.CID, tt.want)
				}
			}
		})
	}
}

// TestArrival waits for blocks that the server gets later.
func TestArrival(t *testing.T) {
	all := randomBlocks(t, 1, 50, 5000)
	ours, theirs := newNode(t, Config{}), newBoxo(t)
	client := newNode(t, Config{})
	for _, server := range []struct {
		name string
		id   peer.ID
		dial func()
		come func()
	}{
		{"cairn", ours.host.ID(), func() { connect(t, client.host, ours.host) }, func() {
			ours.put(t, all...)
			ours.Have(cids(all)...)
		}},
		{"boxo", theirs.host.ID(), func() { connect(t, client.host, theirs.host) }, func() {
			theirs.put(t, all...)
			for _, b := range all {
				if err := theirs.NotifyNewBlocks(t.Context(), foreign(t, b)); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(server.name, func(t *testing.T) {
			server.dial()
			c := client.open(t, server.id)
			if err := c.Want(WantBlock, false, 0, cids(all)...); err != nil {
				t.Fatal(err)
			}
			// The answer to another question shows that these were read.
			probe := raw(t, []byte("probe"))
			if err := c.Want(WantHave, true, -1, probe.CID()); err != nil {
				t.Fatal(err)
			}
			if reply := next(t, c); reply.Kind != DontHave || reply.CID != probe.CID() {
				t.Fatalf("got %d, %s, want a DONT_HAVE of the probe", reply.Kind, reply.CID)
			}
			server.come()
			missing := len(all)
			for ; missing > 0; missing-- {
				if reply := next(t, c); reply.Kind != Block {
					t.Fatalf("got kind %d, want a block", reply.Kind)
				}
			}
		})
	}
	// And boxo's client waits for ours.
	more := randomBlocks(t, 2, 50, 5000)
	waiter := newBoxo(t)
	connect(t, waiter.host, ours.host)
	got, err := waiter.GetBlocks(t.Context(), cids(more))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wants of boxo", func() bool {
		s, _ := ours.state(waiter.host.ID())
		return s.asked == len(more)
	})
	ours.put(t, more...)
	ours.Have(cids(more)...)
	n := 0
	for range got {
		n++
	}
	if n != len(more) {
		t.Errorf("boxo got %d blocks, want %d", n, len(more))
	}
}

// TestCancel cancels a want that can't be answered yet: the block isn't sent
// when it arrives.
func TestCancel(t *testing.T) {
	client, server := newNode(t, Config{}), newNode(t, Config{})
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 10, 5000)
	c := client.open(t, server.host.ID())
	asked := func() int {
		s, _ := server.state(client.host.ID())
		return s.asked
	}
	if err := c.Want(WantBlock, false, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "wants", func() bool { return asked() == len(all) })
	c.Cancel(cids(all[1:])...)
	eventually(t, "cancels", func() bool { return asked() == 1 })
	server.put(t, all...)
	server.Have(cids(all)...)
	if reply := next(t, c); reply.CID != all[0].CID() {
		t.Errorf("got %s, want the one not cancelled", reply.CID)
	}
	// It can be wanted again.
	fetch(t, c, all[1:])
	if err := c.Want(WantBlock, false, 0, raw(t, []byte("never")).CID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last want", func() bool { return asked() == 1 })
	c.Close()
	eventually(t, "the cancel when closed", func() bool { return asked() == 0 })
	server.expectSent(t, len(all))
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Next after Close: got %v, want ErrClosed", err)
	}
	if err := c.Want(WantBlock, false, 0, all[0].CID()); !errors.Is(err, ErrClosed) {
		t.Errorf("Want after Close: got %v, want ErrClosed", err)
	}
}

// TestCancelBoxo cancels at boxo's server.
func TestCancelBoxo(t *testing.T) {
	client, server := newNode(t, Config{}), newBoxo(t)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 10, 5000)
	c := client.open(t, server.host.ID())
	asked := func() int { return len(server.Server.WantlistForPeer(client.host.ID())) }
	if err := c.Want(WantBlock, false, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "wants", func() bool { return asked() == len(all) })
	c.Cancel(cids(all[:4])...)
	eventually(t, "cancels", func() bool { return asked() == len(all)-4 })
	c.Close()
	eventually(t, "the cancels when closed", func() bool { return asked() == 0 })
}

// TestShared has two conversations with one peer.
func TestShared(t *testing.T) {
	client, server := newNode(t, Config{}), newNode(t, Config{})
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 100, 5000)
	a, b := client.open(t, server.host.ID()), client.open(t, server.host.ID())
	// The blocks arrive after both have asked.
	for _, c := range []*Conversation{a, b} {
		if err := c.Want(WantBlock, false, 0, cids(all)...); err != nil {
			t.Fatal(err)
		}
	}
	third := client.open(t, server.host.ID())
	if err := third.Want(WantHave, false, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	third.Close() // takes nothing from the others
	eventually(t, "wants", func() bool {
		s, _ := server.state(client.host.ID())
		return s.asked == len(all)
	})
	server.put(t, all...)
	server.Have(cids(all)...)
	for _, c := range []*Conversation{a, b} {
		var got []cid.Cid
		for range all {
			got = append(got, next(t, c).CID)
		}
		for _, want := range all {
			if !slices.Contains(got, want.CID()) {
				t.Errorf("got no %s", want.CID())
			}
		}
	}
	server.expectSent(t, len(all))
}

// TestWantErrors asks for invalid CIDs, and for too many blocks.
func TestWantErrors(t *testing.T) {
	client, server := newNode(t, Config{}), newNode(t, Config{})
	connect(t, client.host, server.host)
	c := client.open(t, server.host.ID())
	if err := c.Want(WantBlock, false, 0, cid.Undef); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("undefined: got %v, want ErrMalformed", err)
	}
	md5 := cid.NewCidV1(block.Raw, append([]byte{0xd5, 0x01, 16}, make([]byte, 16)...))
	if err := c.Want(WantBlock, false, 0, md5); !errors.Is(err, block.ErrHashRefused) {
		t.Errorf("md5: got %v, want ErrHashRefused", err)
	}
	c.Cancel(cid.Undef, md5)
	many := make([]cid.Cid, maxWants+1)
	for i := range many {
		many[i] = raw(t, []byte("x")).CID()
	}
	if err := c.Want(WantBlock, false, 0, many...); !errors.Is(err, ErrTooMany) {
		t.Errorf("%d wants: got %v, want ErrTooMany", len(many), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next: got %v, want Canceled", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New without a host: got no error")
	}
}

// A block that is asked for twice is sent once.
func TestAskTwice(t *testing.T) {
	client, server := newNode(t, Config{}), newNode(t, Config{})
	connect(t, client.host, server.host)
	first, second := raw(t, []byte("first")), raw(t, []byte("second"))
	c := client.open(t, server.host.ID())
	for range 3 {
		if err := c.Want(WantBlock, false, 0, first.CID()); err != nil {
			t.Fatal(err)
		}
	}
	server.put(t, first, second)
	server.Have(first.CID())
	got := []cid.Cid{next(t, c).CID}
	if err := c.Want(WantBlock, false, 0, second.CID()); err != nil {
		t.Fatal(err)
	}
	if got = append(got, next(t, c).CID); got[0] != first.CID() || got[1] != second.CID() {
		t.Errorf("got %s, want %s and %s", got, first.CID(), second.CID())
	}
}

// A peer is expected to send blocks as long as one may come.
func TestExpecting(t *testing.T) {
	var r remote
	now := time.Now()
	r.late.add("a", now.Add(-lateTime))
	r.late.add("b", now.Add(-lateTime))
	r.late.add("a", now)
	if !r.expecting() {
		t.Error("one may still come: got false, want true")
	}
	if r.late.take("b") || !r.late.take("a") || !r.late.take("a") {
		t.Error("got the one that is too late, or not the other")
	}
	r.late.add("c", now.Add(-lateTime))
	if r.expecting() {
		t.Error("one that is too late: got true, want false")
	}
}
