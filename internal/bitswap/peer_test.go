package bitswap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/cairn-ipfs/cairn/block"
)

// askFor opens a conversation with a raw peer and wants blocks. It returns when the
// peer has received the wants.
func askFor(t testing.TB, client *node, p *rawPeer, all ...block.Block) *Conversation {
	t.Helper()
	c := client.open(t, p.host.ID())
	if err := c.Want(WantBlock, true, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(all); {
		n += len(p.next(t).entries)
	}
	return c
}

func TestOpenNobody(t *testing.T) {
	client, gone := newNode(t, Config{}), newHost(t)
	if _, err := client.Open(t.Context(), gone.ID()); !errors.Is(err, ErrGone) {
		t.Errorf("no address: got %v, want ErrGone", err)
	}
	// A peer that doesn't speak bitswap.
	connect(t, client.host, gone)
	if _, err := client.Open(t.Context(), gone.ID()); !errors.Is(err, ErrGone) {
		t.Errorf("no bitswap there: got %v, want ErrGone", err)
	}
	gone.Close()
	eventually(t, "forgetting", func() bool { return client.peers() == 0 })
}

// TestVanish has a peer disappear while it is being asked.
func TestVanish(t *testing.T) {
	for _, kind := range []string{"cairn", "boxo", "raw"} {
		t.Run(kind, func(t *testing.T) {
			client := newNode(t, Config{})
			var p peer.ID
			var vanish func() error
			switch kind {
			case "cairn":
				server := newNode(t, Config{})
				connect(t, client.host, server.host)
				p, vanish = server.host.ID(), server.host.Close
			case "boxo":
				server := newBoxo(t)
				connect(t, client.host, server.host)
				p, vanish = server.host.ID(), server.host.Close
			case "raw":
				server := newRawPeer(t)
				connect(t, client.host, server.host)
				p, vanish = server.host.ID(), server.host.Close
			}
			c := client.open(t, p)
			if err := c.Want(WantBlock, false, 0, cids(randomBlocks(t, 1, 2000, 10))...); err != nil {
				t.Fatal(err)
			}
			if err := vanish(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Next(t.Context()); !errors.Is(err, ErrGone) {
				t.Errorf("got %v, want ErrGone", err)
			}
			c.Close()
			eventually(t, "forgetting", func() bool { return client.peers() == 0 })
		})
	}
}

// TestServerForgets has a client disappear that waits for blocks.
func TestServerForgets(t *testing.T) {
	client, server := newNode(t, Config{}), newNode(t, Config{})
	connect(t, client.host, server.host)
	c := client.open(t, server.host.ID())
	if err := c.Want(WantBlock, false, 0, cids(randomBlocks(t, 1, 500, 10))...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "wants", func() bool { return server.asked.Load() == 500 })
	client.host.Close()
	eventually(t, "forgetting", func() bool { return server.peers() == 0 })
	if n := server.asked.Load(); n != 0 || len(server.parked.byHash) != 0 {
		t.Errorf("got %d wants counted, %d parked, want none", n, len(server.parked.byHash))
	}
}

// TestReconnect expects all wants to be sent again on a new connection.
func TestReconnect(t *testing.T) {
	client, server := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 20, 100)
	c := askFor(t, client, server, all...)
	// The peer drops the connection; it can be dialled again.
	if err := server.host.Network().ClosePeer(client.host.ID()); err != nil {
		t.Fatal(err)
	}
	m := server.next(t)
	if len(m.entries) != len(all) || !m.full {
		t.Errorf("got %d wants, full %v, want %d, full", len(m.entries), m.full, len(all))
	}
	server.send(t, client, encode(t, answer{blocks: all}, protocol120))
	for _, b := range all {
		if reply := next(t, c); reply.Kind != Block || reply.CID != b.CID() {
			t.Errorf("got %s, want %s", reply.CID, b.CID())
		}
	}
}

// TestReset expects the same when the peer resets the stream.
func TestReset(t *testing.T) {
	client, server := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 20, 100)
	c := askFor(t, client, server, all...)
	for range maxFailures {
		s := <-server.streams
		s.Reset()
		if m := server.next(t); len(m.entries) != len(all) || !m.full {
			t.Errorf("got %d wants, full %v, want %d, full", len(m.entries), m.full, len(all))
		}
	}
	// The first answers are accepted, and the others are late.
	for range 2 {
		server.send(t, client, encode(t, answer{blocks: all}, protocol120))
	}
	for range all {
		next(t, c)
	}
	// The wants were sent once, and again after each reset.
	want := peerState{wantedBytes: bytesOf(all), late: (1 + maxFailures - 2) * len(all)}
	eventually(t, "late blocks", func() bool {
		got, _ := client.state(server.host.ID())
		return got == want
	})
	// A peer that only resets streams is gone.
	if err := c.Want(WantBlock, true, 0, raw(t, []byte("more")).CID()); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := range server.streams {
			s.Reset()
		}
	}()
	defer close(server.streams)
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	server.host.Close()
}

// TestBrokenStream expects wants to be sent again whose answer broke.
func TestBrokenStream(t *testing.T) {
	client, server := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, server.host)
	b := randomBlocks(t, 1, 1, 5000)[0]
	c := askFor(t, client, server, b)
	p := encode(t, answer{blocks: []block.Block{b}}, protocol120)
	s := server.open(t, client)
	if _, err := s.Write(p[:1000]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the block's beginning", func() bool {
		return client.memoryIn.free() < client.memoryIn.total
	})
	s.Reset()
	if m := server.next(t); len(m.entries) != 1 || m.entries[0].cid != b.CID() {
		t.Errorf("got %+v, want the want again", m)
	}
	server.send(t, client, p)
	if reply := next(t, c); reply.CID != b.CID() {
		t.Errorf("got %s, want %s", reply.CID, b.CID())
	}
}

// TestReask expects a silent peer to be asked again, and again.
func TestReask(t *testing.T) {
	client, server := newNode(t, Config{ReaskTimeout: 10 * time.Millisecond}), newRawPeer(t)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 20, 100)
	c := askFor(t, client, server, all...)
	for range 3 {
		if m := server.next(t); len(m.entries) != len(all) || !m.full {
			t.Errorf("got %d wants, full %v, want %d, full", len(m.entries), m.full, len(all))
		}
	}
	server.send(t, client, encode(t, answer{blocks: all}, protocol120))
	for range all {
		next(t, c)
	}
}

// TestIdle expects an idle stream to be closed, and another to be opened.
func TestIdle(t *testing.T) {
	client, server := newNode(t, Config{IdleTimeout: 10 * time.Millisecond}), newRawPeer(t)
	connect(t, client.host, server.host)
	all := randomBlocks(t, 1, 3, 100)
	for i, b := range all {
		c := client.open(t, server.host.ID())
		if err := c.Want(WantBlock, true, 0, b.CID()); err != nil {
			t.Fatal(err)
		}
		if m := server.next(t); len(m.entries) != 1 || m.entries[0].cid != b.CID() {
			t.Fatalf("want %d: got %+v, want it alone", i, m)
		}
		s := <-server.streams
		eventually(t, "the stream's end", func() bool {
			for _, open := range s.Conn().GetStreams() {
				if open.ID() == s.ID() {
					return false
				}
			}
			return true
		})
		server.send(t, client, encode(t, answer{blocks: []block.Block{b}}, protocol120))
		next(t, c)
	}
}

// TestOldVersions asks and answers peers of versions without presences.
func TestOldVersions(t *testing.T) {
	b := v0(t, []byte("old"))
	for _, version := range []protocol.ID{protocol110, protocol100} {
		t.Run(string(version), func(t *testing.T) {
			// As a client.
			node, other := newNode(t, Config{}), newRawPeer(t, version)
			connect(t, node.host, other.host)
			c := node.open(t, other.host.ID())
			if err := c.Want(WantHave, true, 0, b.CID()); err != nil {
				t.Fatal(err)
			}
			m := other.next(t)
			if len(m.entries) != 1 || m.entries[0].kind != WantBlock || m.entries[0].sendDontHave {
				t.Errorf("got %+v, want the block wanted, and no DONT_HAVE", m.entries)
			}
			s := other.open(t, node, version)
			if _, err := s.Write(encode(t, answer{blocks: []block.Block{b}}, version)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if reply := next(t, c); reply.Kind != Block || reply.CID != b.CID() {
				t.Errorf("got kind %d, %s, want the block", reply.Kind, reply.CID)
			}
			// As a server: blocks come, presences don't.
			node.put(t, b)
			s = other.open(t, node, version)
			wants := []entry{{cid: raw(t, []byte("absent")).CID(), sendDontHave: true, priority: 2}, {cid: b.CID(), priority: 1}}
			if _, err := s.Write(appendWants(nil, wants, true)); err != nil {
				t.Fatal(err)
			}
			if m := other.next(t); len(m.blocks) != 1 || m.blocks[0].CID() != b.CID() || len(m.dontHaves) != 0 {
				t.Errorf("got %+v, want the block alone", m)
			}
		})
	}
}

// TestGarbage sends malformed messages.
func TestGarbage(t *testing.T) {
	client, other, good := newNode(t, Config{}), newRawPeer(t), newNode(t, Config{})
	connect(t, client.host, other.host)
	connect(t, client.host, good.host)
	b := randomBlocks(t, 1, 1, 5000)[0]
	for i, garbage := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"),
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, // a huge message
		framed(field(messagePayload, nil)),
	} {
		c := askFor(t, client, other, b)
		s := other.open(t, client)
		if _, err := s.Write(garbage); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(t.Context()); !errors.Is(err, ErrMisbehaved) {
			t.Errorf("garbage %d: got %v, want ErrMisbehaved", i, err)
		}
		if _, err := s.Read(make([]byte, 1)); err == nil {
			t.Errorf("garbage %d: the stream is still open", i)
		}
		c.Close()
		if s, _ := client.state(other.host.ID()); s.wantedBytes+s.unwantedBytes > 0 {
			t.Errorf("garbage %d: got %d bytes of blocks, want none", i, s.wantedBytes+s.unwantedBytes)
		}
		for range len(other.received) { // the cancels
			<-other.received
		}
	}
	good.put(t, b)
	fetch(t, client.open(t, good.host.ID()), []block.Block{b})
}

// TestUnwanted sends blocks that were not asked for.
func TestUnwanted(t *testing.T) {
	client, other := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, other.host)
	b := randomBlocks(t, 1, 1, 5000)[0]
	other.send(t, client, encode(t, answer{blocks: randomBlocks(t, 2, 10, 1000)}, protocol120))
	unwanted := func() int64 {
		s, _ := client.state(other.host.ID())
		return s.unwantedBytes
	}
	eventually(t, "counting", func() bool { return unwanted() == unwantedBytes(10, 1000) })
	// A few are tolerated.
	c := askFor(t, client, other, b)
	other.send(t, client, encode(t, answer{blocks: append(randomBlocks(t, 3, 2, 1000), b)}, protocol120))
	if reply := next(t, c); reply.CID != b.CID() {
		t.Errorf("got %s, want %s", reply.CID, b.CID())
	}
	// Too many are not.
	c = askFor(t, client, other, raw(t, []byte("another")))
	s := other.open(t, client)
	for _, b := range randomBlocks(t, 4, 5, 1<<20) {
		if _, err := s.Write(encode(t, answer{blocks: []block.Block{b}}, protocol120)); err != nil {
			break
		}
	}
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrMisbehaved) {
		t.Errorf("got %v, want ErrMisbehaved", err)
	}
	if _, err := client.Open(t.Context(), other.host.ID()); !errors.Is(err, ErrMisbehaved) {
		t.Errorf("Open: got %v, want ErrMisbehaved", err)
	}
	if s, _ := client.state(other.host.ID()); s.unwantedBytes <= 4<<20 || s.wantedBytes != int64(b.Size()) {
		t.Errorf("got %d bytes unwanted and %d wanted, want more than %d, and %d", s.unwantedBytes, s.wantedBytes, 4<<20, b.Size())
	}
}

// TestWrongBytes sends other bytes than those wanted.
func TestWrongBytes(t *testing.T) {
	client, other := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, other.host)
	b := randomBlocks(t, 1, 1, 5000)[0]
	c := askFor(t, client, other, b)
	wrong := bytes.Clone(b.Data())
	wrong[77] ^= 1
	sent := answer{blocks: []block.Block{raw(t, wrong), b}}
	other.send(t, client, encode(t, sent, protocol120))
	reply := next(t, c)
	if reply.Kind != Block || !bytes.Equal(reply.Block.Data(), b.Data()) {
		t.Errorf("got other bytes than the CID names")
	}
	want := peerState{wantedBytes: int64(b.Size()), unwantedBytes: unwantedBytes(1, b.Size())}
	if got, _ := client.state(other.host.ID()); got != want {
		t.Errorf("got the state %+v, want %+v", got, want)
	}
}

// TestDuplicates sends blocks again, and after they were cancelled.
func TestDuplicates(t *testing.T) {
	client, other := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, other.host)
	all := randomBlocks(t, 1, 20, 1<<20)
	c := askFor(t, client, other, all...)
	c.Cancel(cids(all)...)
	if m := other.next(t); len(m.entries) != len(all) || !m.entries[0].cancel {
		t.Errorf("got %d entries, want %d cancels", len(m.entries), len(all))
	}
	// More than would be tolerated of blocks never asked for.
	s := other.open(t, client)
	for _, b := range all {
		if _, err := s.Write(encode(t, answer{blocks: []block.Block{b}}, protocol120)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "late blocks", func() bool {
		s, _ := client.state(other.host.ID())
		return s == peerState{}
	})
	// A second time is too much.
	for _, b := range all {
		if _, err := s.Write(encode(t, answer{blocks: []block.Block{b}}, protocol120)); err != nil {
			break
		}
	}
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrMisbehaved) {
		t.Errorf("got %v, want ErrMisbehaved", err)
	}
}

// A timedStream holds a message. Like a QUIC stream, it can't be read after its
// deadline, even if bytes are there.
type timedStream struct {
	network.Stream
	message *bytes.Reader
	until   time.Time
	times   int           // that until was set
	pause   time.Duration // before each read, of 32 KiB then
	reset   chan struct{} // closed by Reset; nil: it has an end
}

func (s *timedStream) Read(p []byte) (int, error) {
	if s.pause > 0 {
		time.Sleep(s.pause)
		p = p[:min(len(p), 32<<10)]
	}
	if !s.until.IsZero() && !time.Now().Before(s.until) {
		return 0, os.ErrDeadlineExceeded
	}
	if n, err := s.message.Read(p); err == nil || s.reset == nil {
		return n, err
	}
	select {
	case <-s.reset:
		return 0, network.ErrReset
	case <-time.After(time.Until(s.until)):
		return 0, os.ErrDeadlineExceeded
	}
}

func (s *timedStream) Reset() error {
	close(s.reset)
	return nil
}

func (s *timedStream) SetReadDeadline(until time.Time) error {
	s.until = until
	s.times++
	return nil
}

// TestTinyMessages has a peer send empty and tiny messages, which cost little more
// than reading them.
func TestTinyMessages(t *testing.T) {
	b := &Bitswap{ctx: t.Context(), memoryIn: newBudget(0), log: slog.New(slog.DiscardHandler)}
	b.readers.New = func() any { return bufio.NewReaderSize(nil, readBuffer) }
	empty := framed(field(messageWantlist, nil))
	for _, sent := range [][]byte{make([]byte, 1<<20), bytes.Repeat(empty, (1<<20)/len(empty))} {
		s := &timedStream{message: bytes.NewReader(sent)}
		if r := newRemote(b, "peer"); !r.read(s) || s.message.Len() > 0 {
			t.Errorf("got an error, with %d bytes left", s.message.Len())
		}
		// Two times for each turn, and for what is cut by its end.
		if most := 4 * (1<<20/firstRead + 1); s.times > most {
			t.Errorf("the deadline was set %d times, want %d at most", s.times, most)
		}
	}
}

// TestOurDelay has a message wait for memory, and for replies to be read. That time
// moves the peer's deadline.
func TestOurDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bitswap{ctx: t.Context(), memoryIn: newBudget(1 << 20), log: slog.New(slog.DiscardHandler)}
		b.readers.New = func() any { return bufio.NewReaderSize(nil, readBuffer) }
		r := newRemote(b, "peer")
		c := &Conversation{r: r, wants: make(map[*want]struct{}), more: make(chan struct{}, 1), space: make(chan struct{}, 1), over: make(chan struct{})}
		c.bytes = maxUnread // and nothing is read
		all := randomBlocks(t, 1, 3, 100<<10)
		if err := r.add(c, WantBlock, false, 0, cids(all)); err != nil {
			t.Fatal(err)
		}
		taken, err := b.memoryIn.acquire(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s := &timedStream{message: bytes.NewReader(encode(t, answer{blocks: all}, protocol120))}
		began := time.Now()
		ended := make(chan bool)
		go func() { ended <- r.read(s) }()
		time.Sleep(time.Hour)
		b.memoryIn.release(taken)
		time.Sleep(time.Hour)
		c.mu.Lock()
		c.bytes = 0
		signal(c.space)
		c.mu.Unlock()
		if ok := <-ended; !ok || r.wantedBytes.Load() != bytesOf(all) {
			t.Errorf("got %d bytes, and %v, want %d to the stream's proper end", r.wantedBytes.Load(), ok, bytesOf(all))
		}
		if took := time.Since(began); took != 2*time.Hour {
			t.Errorf("it took %v, want no more than we made it wait", took)
		}
	})
}

// TestEvictSender has peers begin blocks that take all memory. The one that sends no
// more is cut off long before its deadline when another peer's block needs the
// memory.
func TestEvictSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bitswap{ctx: t.Context(), memoryIn: newBudget(2 * block.MaxSize), log: slog.New(slog.DiscardHandler)}
		b.readers.New = func() any { return bufio.NewReaderSize(nil, readBuffer) }
		read := func(s *timedStream, all ...block.Block) (*remote, <-chan bool) {
			r := newRemote(b, "peer")
			c := &Conversation{r: r, wants: make(map[*want]struct{}), more: make(chan struct{}, 1), space: make(chan struct{}, 1), over: make(chan struct{})}
			if err := r.add(c, WantBlock, false, 0, cids(all)); err != nil {
				t.Fatal(err)
			}
			ended := make(chan bool, 1)
			go func() { ended <- r.read(s) }()
			synctest.Wait()
			return r, ended
		}
		large := randomBlocks(t, 1, 2, block.MaxSize)
		message := encode(t, answer{blocks: large[:1]}, protocol120)
		slow := &timedStream{message: bytes.NewReader(message), pause: patience / 16, reset: make(chan struct{})}
		_, slowly := read(slow, large[:1]...)
		time.Sleep(patience / 4)
		stalled := &timedStream{message: bytes.NewReader(message[:100<<10]), reset: make(chan struct{})}
		_, never := read(stalled, large[:1]...)
		began := time.Now()
		r, honest := read(&timedStream{message: bytes.NewReader(encode(t, answer{blocks: large[1:]}, protocol120))}, large[1:]...)
		if ok := <-honest; !ok || r.wantedBytes.Load() != block.MaxSize {
			t.Errorf("got %v and %d bytes, want a block of %d", ok, r.wantedBytes.Load(), block.MaxSize)
		}
		if took := time.Since(began); took > 2*patience {
			t.Errorf("it took %v, want %v at most", took, 2*patience)
		}
		if ok := <-never; ok {
			t.Error("got the proper end of what didn't end")
		}
		select {
		case <-slow.reset:
			t.Error("one that sends is cut off, too")
		default:
		}
		slow.Reset()
		<-slowly
		if free := b.memoryIn.free(); free != b.memoryIn.total {
			t.Errorf("got %d bytes free in the end, want all %d", free, b.memoryIn.total)
		}
	})
}

// TestSilent asks a peer that never answers, and others.
func TestSilent(t *testing.T) {
	client, silent := newNode(t, Config{}), newRawPeer(t)
	connect(t, client.host, silent.host)
	all := randomBlocks(t, 1, 500, 1000)
	c := askFor(t, client, silent, all...)
	for _, server := range servers {
		fetch(t, client.open(t, server.make(t, client, all)), all)
	}
	c.Close()
	n := 0
	for n < len(all) { // cancels, as others sent them
		for _, e := range silent.next(t).entries {
			if !e.cancel {
				t.Fatalf("got a want of %s, want cancels", e.cid)
			}
			n++
		}
	}
}

// TestQueue expects no more wants at a peer than it keeps, in order.
func TestQueue(t *testing.T) {
	client, other := newNode(t, Config{MaxOutstanding: 100}), newRawPeer(t)
	connect(t, client.host, other.host)
	all := randomBlocks(t, 1, 350, 100)
	c := client.open(t, other.host.ID())
	if err := c.Want(WantBlock, true, 0, cids(all)...); err != nil {
		t.Fatal(err)
	}
	urgent := raw(t, []byte("urgent"))
	if err := c.Want(WantBlock, true, 5, urgent.CID()); err != nil {
		t.Fatal(err)
	}
	// The peer has no block, and remembers wants until they are cancelled.
	var order []cid.Cid
	remembered := make(map[cid.Cid]bool)
	for len(order) < len(all)+1 {
		var a answer
		m := other.next(t)
		for i, e := range m.entries {
			if e.cancel {
				delete(remembered, e.cid)
				continue
			}
			if i > 0 && e.priority >= m.entries[i-1].priority {
				t.Errorf("got priority %d after %d, want them to fall", e.priority, m.entries[i-1].priority)
			}
			order = append(order, e.cid)
			remembered[e.cid] = true
			a.dontHaves = append(a.dontHaves, e.cid)
		}
		if len(remembered) > 100 {
			t.Fatalf("got %d wants at once, want 100 at most", len(remembered))
		}
		other.send(t, client, encode(t, a, protocol120))
	}
	for range order {
		if reply := next(t, c); reply.Kind != DontHave {
			t.Fatalf("got kind %d, want DONT_HAVE", reply.Kind)
		}
	}
	// The queued wants came in order, except the urgent one.
	var plain []cid.Cid
	at := -1
	for i, name := range order {
		if name == urgent.CID() {
			at = i
		} else {
			plain = append(plain, name)
		}
	}
	for i, b := range all {
		if plain[i] != b.CID() {
			t.Fatalf("want %d: got %s, want %s", i, plain[i], b.CID())
		}
	}
	if at < 0 || at > 101 {
		t.Errorf("the urgent want came at %d, want it before the queued ones", at)
	}
}

// TestClose closes busy nodes, and expects no goroutine to be left.
func TestClose(t *testing.T) {
	for range 3 {
		client, server, theirs := newNode(t, Config{}), newNode(t, Config{}), newBoxo(t)
		connect(t, client.host, server.host)
		connect(t, client.host, theirs.host)
		all := randomBlocks(t, 1, 2000, 2000)
		server.put(t, all...)
		theirs.put(t, all...)
		var talks []*Conversation
		for _, p := range []peer.ID{server.host.ID(), theirs.host.ID()} {
			c := client.open(t, p)
			if err := c.Want(WantBlock, true, 0, cids(all)...); err != nil {
				t.Fatal(err)
			}
			next(t, c)
			talks = append(talks, c)
		}
		for range 2 {
			client.Close()
			server.Close()
		}
		for _, c := range talks {
			for {
				if _, err := c.Next(t.Context()); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("got %v, want ErrClosed", err)
					}
					break
				}
			}
		}
		if _, err := client.Open(context.Background(), server.host.ID()); !errors.Is(err, ErrClosed) {
			t.Errorf("Open after Close: got %v, want ErrClosed", err)
		}
	}
	eventually(t, "the end of all goroutines", func() bool { return !strings.Contains(stacks(), "internal/bitswap.(*") })
}

// stacks returns the stacks of all goroutines.
func stacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
