package bitswap

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/block/blocktest"
)

// countingBlocks counts reads and lookups.
type countingBlocks struct {
	blocktest.Mem
	gets, looks atomic.Int64
}

func (c *countingBlocks) Get(ctx context.Context, name cid.Cid) (block.Block, error) {
	c.gets.Add(1)
	return c.Mem.Get(ctx, name)
}

func (c *countingBlocks) Has(ctx context.Context, name cid.Cid) (bool, error) {
	c.looks.Add(1)
	return c.Mem.Has(ctx, name)
}

func (c *countingBlocks) Size(ctx context.Context, name cid.Cid) (int, error) {
	c.looks.Add(1)
	return c.Mem.Size(ctx, name)
}

// findingBlocks finds blocks with one lookup.
type findingBlocks struct{ countingBlocks }

func (f *findingBlocks) Find(ctx context.Context, name cid.Cid) (int, func(context.Context) (block.Block, error), error) {
	f.looks.Add(1)
	b, err := f.Mem.Get(ctx, name)
	return b.Size(), func(context.Context) (block.Block, error) { return b, nil }, err
}

// TestOneLookup serves each block with one lookup where Blocks can.
func TestOneLookup(t *testing.T) {
	blocks := new(findingBlocks)
	client, server := newNode(t, Config{}), newNode(t, Config{Blocks: blocks})
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 200, 5000)
	if err := blocks.Put(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	fetch(t, client.open(t, server.host.ID()), all)
	// A block that doesn't fit into a message is looked up again for the next.
	if looks, gets := blocks.looks.Load(), blocks.gets.Load(); gets != 0 || looks > int64(len(all)+5) {
		t.Errorf("got %d lookups and %d further reads for %d blocks, want one each and none", looks, gets, len(all))
	}
}

// TestPresenceReadsNothing asks for presences alone.
func TestPresenceReadsNothing(t *testing.T) {
	blocks := new(countingBlocks)
	client, server := newNode(t, Config{}), newNode(t, Config{Blocks: blocks})
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 200, 5000)
	if err := blocks.Put(t.Context(), all[:100]...); err != nil {
		t.Fatal(err)
	}
	c := client.open(t, server.host.ID())
	if err := c.Want(WantHave, true, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	count := map[ReplyKind]int{}
	for range all {
		count[next(t, c).Kind]++
	}
	if count[Have] != 100 || count[DontHave] != 100 {
		t.Errorf("got %d HAVE, %d DONT_HAVE, want 100 each", count[Have], count[DontHave])
	}
	if n := blocks.gets.Load(); n != 0 {
		t.Errorf("got %d blocks read, want none", n)
	}
}

// TestPresencesFillMessages asks for presences that fill messages of any size: all
// come.
func TestPresencesFillMessages(t *testing.T) {
	for size := 4*maxPresence - 1; size > 0; size -= 32 {
		client, server := newNode(t, Config{}), newNode(t, Config{MessageSize: size})
		connect(t, client.host, server.host)
		all := randomBlocks(t, 1, 20, 5000)
		server.put(t, all[:10]...)
		c := client.open(t, server.host.ID())
		if err := c.Want(WantHave, true, 0, cids(all)...); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it asks again after a minute
		for i := range all {
			if _, err := c.Next(ctx); err != nil {
				t.Fatalf("messages of %d bytes: got %d replies of %d: %v", size, i, len(all), err)
			}
		}
		cancel()
	}
}

// TestFewMessages asks for many blocks, which come in few messages. They are one
// piece of a want list: the server doesn't wait for the rest of a longer one.
func TestFewMessages(t *testing.T) {
	server, other := newNode(t, Config{}), newRawPeer(t)
	connect(t, other.host, server.host)
	all := randomBlocks(t, 1, maxPiece, 1600)
	server.put(t, all...)
	var entries []entry
	for _, b := range all {
		entries = append(entries, entry{cid: b.CID()})
	}
	other.send(t, server, appendWants(nil, entries, true))
	blocks, messages := 0, 0
	for blocks < len(all) {
		blocks += len(other.next(t).blocks)
		messages++
	}
	// 1.7 MB with what is around the blocks.
	if messages > 4 {
		t.Errorf("got %d messages, want 4 at most", messages)
	}
}

// TestFair has one peer ask for a lot before 63 others ask for a little.
func TestFair(t *testing.T) {
	const others, few, size = 63, 40, 16 << 10
	server, hog := newNode(t, Config{MessageSize: 64 << 10}), newRawPeer(t)
	connect(t, hog.host, server.host)
	many := randomBlocks(t, 1, 8000, size)
	server.put(t, many...)
	var entries []entry
	for _, b := range many {
		entries = append(entries, entry{cid: b.CID()})
	}
	hog.send(t, server, appendWants(nil, entries, true))
	hog.next(t) // it is being served

	var done sync.WaitGroup
	for range others {
		client := newNode(t, Config{})
		connect(t, client.host, server.host)
		c := client.open(t, server.host.ID())
		done.Go(func() {
			if err := c.Want(WantBlock, true, 0, cids(many[:few])...); err != nil {
				t.Error(err)
			}
			for range few {
				if _, err := c.Next(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	served := make(chan struct{})
	go func() {
		done.Wait()
		close(served)
	}()
	for {
		select {
		case <-hog.received:
			continue
		case <-served:
		}
		break
	}
	if s, _ := server.state(hog.host.ID()); s.asked == 0 {
		t.Errorf("the peer that asked for %d blocks got all of them before the others got %d each", len(many), few)
	}
}

// TestEqualShares has 64 peers wait for the same blocks, which arrive at once.
func TestEqualShares(t *testing.T) {
	const peers, count, size = 64, 64, 16 << 10
	server := newNode(t, Config{MessageSize: 64 << 10})
	all := randomBlocks(t, 1, count, size)
	var got [peers]atomic.Int64
	var least atomic.Int64
	least.Store(-1)
	var done sync.WaitGroup
	for i := range peers {
		client := newNode(t, Config{})
		connect(t, client.host, server.host)
		c := client.open(t, server.host.ID())
		if err := c.Want(WantBlock, false, 0, cids(all)...); err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			for range count {
				if _, err := c.Next(t.Context()); err != nil {
					t.Error(err)
					return
				}
				got[i].Add(1)
			}
			// Once half of them are done, how far are the others?
			finished, low := 0, int64(count)
			for j := range got {
				n := got[j].Load()
				if n == count {
					finished++
				}
				low = min(low, n)
			}
			if finished >= peers/2 {
				least.CompareAndSwap(-1, low)
			}
		})
	}
	eventually(t, "wants", func() bool { return server.asked.Load() == peers*count })
	server.put(t, all...)
	server.Have(cids(all)...)
	done.Wait()
	if n := least.Load(); n < count/8 {
		t.Errorf("when half of the peers had all %d blocks, the last had %d, want %d or more", count, n, count/8)
	}
	server.expectSent(t, peers*count)
}

// entriesOf makes n entries for blocks that don't exist.
func entriesOf(n, from int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		mh := make([]byte, 34)
		mh[0], mh[1] = 0x12, 32
		binary.LittleEndian.PutUint64(mh[2:], uint64(from+i))
		entries[i] = entry{cid: cid.NewCidV1(block.Raw, mh), priority: 1}
	}
	return entries
}

// TestFlood has a peer want a million blocks that aren't here; others are
// served, and memory is bounded.
func TestFlood(t *testing.T) {
	const limit = 5000
	server, flood, client := newNode(t, Config{MaxAsked: limit, WantRate: 10_000_000}), newRawPeer(t), newNode(t, Config{})
	connect(t, flood.host, server.host)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 100, 10_000)
	server.put(t, all...)
	total := 1_000_000
	if testing.Short() {
		total = 100_000
	}
	var flooding sync.WaitGroup
	const streams = 4
	for k := range streams {
		s := flood.open(t, server)
		flooding.Go(func() {
			for from := 0; from < total/streams; from += 20_000 {
				if _, err := s.Write(appendWants(nil, entriesOf(20_000, k*total+from), false)); err != nil {
					t.Errorf("the flood: %v", err)
					return
				}
			}
			s.CloseWrite()
		})
	}
	c := client.open(t, server.host.ID())
	fetch(t, c, all)
	flooding.Wait()
	if s, _ := server.state(flood.host.ID()); s.asked > limit {
		t.Errorf("got %d wants remembered, want %d at most", s.asked, limit)
	}
	fetch(t, c, all) // and still
	// After the flood, which may take a while, the last wants are remembered, and
	// answered.
	s := flood.open(t, server)
	answered := make(chan struct{})
	flooding.Go(func() {
		for {
			if _, err := s.Write(appendWants(nil, []entry{{cid: all[0].CID(), priority: 1}}, false)); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-answered:
				return
			case <-t.Context().Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	if m := flood.next(t); len(m.blocks) != 1 {
		t.Errorf("got %+v, want a block", m)
	}
	close(answered)
	flooding.Wait()
	if err := flood.host.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "forgetting", func() bool { return server.asked.Load() == 0 })
}

// TestStreams has a peer open thousands of silent streams.
func TestStreams(t *testing.T) {
	server, other, client := newNode(t, Config{}), newRawPeer(t), newNode(t, Config{})
	connect(t, other.host, server.host)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 100, 10_000)
	server.put(t, all...)
	before := runtime.NumGoroutine()
	for range 2000 {
		s := other.open(t, server)
		if _, err := s.Write([]byte{0x80}); err != nil { // half of a length
			continue
		}
	}
	eventually(t, "the bound", func() bool {
		return open(server.host.Network().ConnsToPeer(other.host.ID())) <= maxStranger+10
	})
	fetch(t, client.open(t, server.host.ID()), all)
	t.Logf("%d goroutines more", runtime.NumGoroutine()-before)
	other.host.Close()
	eventually(t, "forgetting", func() bool { _, known := server.state(other.host.ID()); return !known })
}

func open(conns []network.Conn) int {
	n := 0
	for _, c := range conns {
		n += len(c.GetStreams())
	}
	return n
}

// TestSlowReader has a peer that holds all memory read nothing: its wants are
// dropped, and others are served meanwhile.
func TestSlowReader(t *testing.T) {
	server, client := newNode(t, Config{StallTimeout: time.Second, MaxMemory: 4 << 20}), newNode(t, Config{})
	slow := newHost(t)
	accepted := make(chan network.Stream, 100)
	slow.SetStreamHandler(protocol120, func(s network.Stream) { accepted <- s }) // and doesn't read
	connect(t, slow, server.host)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 60, 1<<20)
	server.put(t, all...)
	var entries []entry
	for _, b := range all {
		entries = append(entries, entry{cid: b.CID()})
	}
	s, err := slow.NewStream(t.Context(), server.host.ID(), protocol120)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendWants(nil, entries, true)); err != nil {
		t.Fatal(err)
	}
	stalled := <-accepted
	fetch(t, client.open(t, server.host.ID()), all)
	eventually(t, "dropping", func() bool {
		s, _ := server.state(slow.ID())
		return s.asked == 0
	})
	if n := server.mem.gets.Load() - int64(len(all)); n >= int64(len(all)) {
		t.Errorf("got %d blocks read for a peer that reads none", n)
	}
	// Its stream was reset.
	buf := make([]byte, 1<<20)
	for err = nil; err == nil; {
		_, err = stalled.Read(buf)
	}
	if !isReset(err) {
		t.Errorf("got %v at the stream's end, want a reset", err)
	}
	// It may ask again.
	if _, err := s.Write(appendWants(nil, entries[:1], true)); err != nil {
		t.Fatal(err)
	}
	again := <-accepted
	if _, err := again.Read(buf); err != nil {
		t.Errorf("asked again: %v", err)
	}
}

// TestEvictReader has a peer that reads nothing hold all memory: its wants are
// dropped long before StallTimeout when another peer needs the memory.
func TestEvictReader(t *testing.T) {
	server, client := newNode(t, Config{StallTimeout: time.Hour, MaxMemory: 3 << 19}), newNode(t, Config{})
	slow := newHost(t)
	slow.SetStreamHandler(protocol120, func(s network.Stream) {})
	connect(t, slow, server.host)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 60, 1<<20)
	server.put(t, all...)
	var entries []entry
	for _, b := range all {
		entries = append(entries, entry{cid: b.CID()})
	}
	s, err := slow.NewStream(t.Context(), server.host.ID(), protocol120)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendWants(nil, entries, true)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stalling", func() bool {
		return server.memoryOut.free() < 1<<19
	})
	fetch(t, client.open(t, server.host.ID()), all)
}

// TestHalfLists has a peer begin many long want lists and end none: few are read at
// once, and those of other peers are read, too.
func TestHalfLists(t *testing.T) {
	server, other, client := newNode(t, Config{}), newRawPeer(t), newNode(t, Config{})
	connect(t, other.host, server.host)
	connect(t, client.host, server.host)
	p := appendWants(nil, entriesOf(maxEntries, 0), true)
	for range maxStranger - 1 {
		s := other.open(t, server)
		if _, err := s.Write(p[:20<<10]); err != nil {
			t.Fatal(err)
		}
	}
	r := server.hold(other.host.ID())
	defer server.release(r)
	free := func() int {
		return r.readers.free()
	}
	eventually(t, "the first lists", func() bool { return free() == 0 })
	all := randomBlocks(t, 1, 3000, 100) // a long list, too
	server.put(t, all...)
	fetch(t, client.open(t, server.host.ID()), all)
	if n := free(); n != 0 {
		t.Errorf("got %d readers free, want all of them busy", n)
	}
	other.host.Close()
	eventually(t, "releasing", func() bool { return free() == peerReaders })
}

// TestPace adds wants faster than WantRate.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &newRemote(&Bitswap{config: Config{WantRate: 100}}, "peer").server
		began := time.Now()
		add := func(n int, want time.Duration) {
			t.Helper()
			if err := s.pace(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began).Round(time.Millisecond); took != want {
				t.Errorf("got %v since the beginning, want %v", took, want)
			}
		}
		add(wantsAtOnce, 0)
		add(50, 500*time.Millisecond)
		add(50, time.Second)
		s.earn(100)
		add(100, time.Second)
		time.Sleep(time.Hour) // it may add as many at once as in the beginning
		began = time.Now()
		add(wantsAtOnce, 0)
		add(100, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.pace(ctx, 1000); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
	})
}

// TestFullList has a peer replace its want list.
func TestFullList(t *testing.T) {
	server, other := newNode(t, Config{}), newRawPeer(t)
	connect(t, other.host, server.host)
	s := other.open(t, server)
	asked := func() int64 { return server.asked.Load() }
	if _, err := s.Write(appendWants(nil, entriesOf(100, 0), true)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "100 wants", func() bool { return asked() == 100 })
	if _, err := s.Write(appendWants(nil, entriesOf(10, 95), false)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "105 wants", func() bool { return asked() == 105 })
	if _, err := s.Write(appendWants(nil, entriesOf(10, 100), true)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "10 wants", func() bool { return asked() == 10 })
	if _, err := s.Write(appendWants(nil, nil, true)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "none", func() bool { return asked() == 0 })
}

// TestClientOnly asks a node without Blocks.
func TestClientOnly(t *testing.T) {
	h := newHost(t)
	only, err := New(Config{Host: h})
	if err != nil {
		t.Fatal(err)
	}
	defer only.Close()
	server, other := newNode(t, Config{}), newRawPeer(t)
	b := raw(t, []byte("block"))
	server.put(t, b)
	connect(t, h, server.host)
	connect(t, other.host, h)
	s, err := other.host.NewStream(t.Context(), h.ID(), protocols()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(appendWants(nil, []entry{{cid: b.CID(), sendDontHave: true}}, true)); err != nil {
		t.Fatal(err)
	}
	c, err := only.Open(t.Context(), server.host.ID())
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, c, []block.Block{b})
	c.Close()
	if n := only.asked.Load(); n != 0 {
		t.Errorf("got %d wants remembered, want none", n)
	}
}

// A steadyStream takes a piece in half of patience.
type steadyStream struct{ network.Stream }

func (steadyStream) SetWriteDeadline(time.Time) error { return nil }

func (steadyStream) Write(p []byte) (int, error) {
	time.Sleep(patience / 2)
	return len(p), nil
}

// A peer that reads 64 KiB in a second keeps its memory, however large the block.
func TestSteadyReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbound{r: &remote{b: &Bitswap{config: Config{StallTimeout: time.Minute}}}, s: steadyStream{}}
		written := make(chan struct{})
		go func() {
			defer close(written)
			if n, err := o.Write(make([]byte, block.MaxSize)); n != block.MaxSize || err != nil {
				t.Errorf("got %d bytes, %v, want %d", n, err, block.MaxSize)
			}
		}()
		for range block.MaxSize / writeBuffer {
			time.Sleep(patience / 4)
			if since := o.since.Load(); since != 0 && time.Since(time.Unix(0, since)) >= patience {
				t.Errorf("got a write that began %v ago, want less than %v", time.Since(time.Unix(0, since)), patience)
				break
			}
		}
		<-written
	})
}
