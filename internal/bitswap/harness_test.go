package bitswap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	boxo "github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
)

// newHost makes a host that listens on this machine only.
func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.NoTransports,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// connect makes a connection from a to b.
func connect(t testing.TB, a, b host.Host) {
	t.Helper()
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatalf("connect: %v", err)
	}
}

// A node is a host with a Bitswap and its blocks.
type node struct {
	*Bitswap
	host host.Host
	mem  *countingBlocks
}

// newNode makes a node with its own Host and Blocks. It asks again only after a
// minute, since tests count what is asked and sent, also on busy machines.
func newNode(t testing.TB, c Config) *node {
	t.Helper()
	n := &node{host: newHost(t), mem: new(countingBlocks)}
	c.Host = n.host
	if c.Blocks == nil {
		c.Blocks = n.mem
	}
	if c.ReaskTimeout == 0 {
		c.ReaskTimeout = time.Minute
	}
	var err error
	if n.Bitswap, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) put(t testing.TB, all ...block.Block) {
	t.Helper()
	if err := n.mem.Put(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

// open begins a conversation with p, and closes it at the test's end.
func (n *node) open(t testing.TB, p peer.ID) *Conversation {
	t.Helper()
	c, err := n.Open(t.Context(), p)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// A boxoNode is a host with boxo's bitswap, client and server.
type boxoNode struct {
	*boxo.Bitswap
	host  host.Host
	store blockstore.Blockstore
}

func newBoxo(t testing.TB, options ...boxo.Option) *boxoNode {
	t.Helper()
	n := &boxoNode{host: newHost(t)}
	n.store = blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	ctx, cancel := context.WithCancel(context.Background())
	n.Bitswap = boxo.New(ctx, bsnet.NewFromIpfsHost(n.host), nil, n.store, options...)
	t.Cleanup(func() {
		n.Bitswap.Close()
		cancel()
	})
	return n
}

func (n *boxoNode) put(t testing.TB, all ...block.Block) {
	t.Helper()
	for _, b := range all {
		if err := n.store.Put(t.Context(), foreign(t, b)); err != nil {
			t.Fatal(err)
		}
	}
}

// foreign converts a block to boxo's type.
func foreign(t testing.TB, b block.Block) blocks.Block {
	t.Helper()
	f, err := blocks.NewBlockWithCid(b.Data(), b.CID())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func raw(t testing.TB, data []byte) block.Block {
	t.Helper()
	b, err := block.New(block.Raw, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// randomBlocks makes n blocks of size bytes each, the same for the same seed.
func randomBlocks(t testing.TB, seed uint64, n, size int) []block.Block {
	t.Helper()
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	random := rand.NewChaCha8(key)
	all := make([]block.Block, n)
	for i := range all {
		data := make([]byte, size)
		random.Read(data)
		all[i] = raw(t, data)
	}
	return all
}

func cids(all []block.Block) []cid.Cid {
	names := make([]cid.Cid, len(all))
	for i, b := range all {
		names[i] = b.CID()
	}
	return names
}

// next returns the next reply.
func next(t testing.TB, c *Conversation) Reply {
	t.Helper()
	reply, err := c.Next(t.Context())
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return reply
}

// fetch asks for all blocks, and expects each once.
func fetch(t testing.TB, c *Conversation, all []block.Block) {
	t.Helper()
	if err := c.Want(WantBlock, true, 0, cids(all)...); err != nil {
		t.Fatalf("Want: %v", err)
	}
	missing := make(map[cid.Cid]block.Block, len(all))
	for _, b := range all {
		missing[b.CID()] = b
	}
	for len(missing) > 0 {
		reply := next(t, c)
		want, ok := missing[reply.CID]
		if !ok || reply.Kind != Block || reply.Block.CID() != reply.CID || reply.Block.Size() != want.Size() {
			t.Fatalf("got a reply of kind %d for %s, %d bytes, want one of the %d blocks missing", reply.Kind, reply.CID, reply.Block.Size(), len(missing))
		}
		delete(missing, reply.CID)
	}
}

// A rawPeer is a peer whose messages the test writes.
type rawPeer struct {
	host     host.Host
	streams  chan network.Stream // opened to it; closed by the test
	received chan message        // of these, in order
}

// newRawPeer makes a peer that speaks the versions given, or all.
func newRawPeer(t testing.TB, versions ...protocol.ID) *rawPeer {
	t.Helper()
	p := &rawPeer{host: newHost(t), streams: make(chan network.Stream, 1000), received: make(chan message, 1000)}
	if len(versions) == 0 {
		versions = protocols()
	}
	for _, v := range versions {
		p.host.SetStreamHandler(v, func(s network.Stream) {
			p.streams <- s
			d := decoder{r: bufio.NewReader(s)}
			for {
				n, err := d.start()
				var m message
				if err == nil {
					err = d.message(n, &m)
				}
				if err != nil {
					s.Close()
					return
				}
				select {
				case p.received <- m:
				case <-t.Context().Done():
					return
				}
			}
		})
	}
	return p
}

// next returns the next message to the peer.
func (p *rawPeer) next(t testing.TB) message {
	t.Helper()
	select {
	case m := <-p.received:
		return m
	case <-t.Context().Done():
		t.Fatal("no message came")
		return message{}
	}
}

// open opens a stream to a node.
func (p *rawPeer) open(t testing.TB, to *node, versions ...protocol.ID) network.Stream {
	t.Helper()
	if len(versions) == 0 {
		versions = protocols()
	}
	s, err := p.host.NewStream(t.Context(), to.host.ID(), versions...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send sends bytes on a stream of its own.
func (p *rawPeer) send(t testing.TB, to *node, message []byte) {
	t.Helper()
	s := p.open(t, to)
	if _, err := s.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// encode encodes an answer.
func encode(t testing.TB, a answer, version protocol.ID) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := a.writeTo(&buf, version); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// A message is a decoded message.
type message struct {
	entries   []entry
	full      bool
	blocks    []block.Block
	haves     []cid.Cid
	dontHaves []cid.Cid
}

func (m *message) wants(entries []entry) error {
	m.entries = append(m.entries, entries...)
	return nil
}

func (m *message) endWants(full bool) error {
	m.full = full
	return nil
}

func (m *message) buffer(n int) ([]byte, error) { return make([]byte, n), nil }

func (m *message) block(p cid.Prefix, data []byte, n int) error {
	b, err := block.NewWithPrefix(p, data)
	if err != nil || b.Size() != n {
		return fmt.Errorf("a block of %d bytes: %w", n, err)
	}
	m.blocks = append(m.blocks, b)
	return nil
}

func (m *message) presence(c cid.Cid, have bool) error {
	if have {
		m.haves = append(m.haves, c)
	} else {
		m.dontHaves = append(m.dontHaves, c)
	}
	return nil
}

// eventually waits until the condition holds. It fails at the end of the test.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s: the test has ended", what)
		}
	}
}

// expectSent expects the node to have read as many blocks as that to send them, and
// no more.
func (n *node) expectSent(t testing.TB, blocks int) {
	t.Helper()
	if got := n.mem.gets.Load(); got != int64(blocks) {
		t.Errorf("got %d blocks sent, want %d", got, blocks)
	}
}

// peerState is what a node remembers of a peer.
type peerState struct {
	wantedBytes, unwantedBytes int64
	outstanding, queued        int // our wants
	late                       int // blocks that may still come though their wants have ended
	asked                      int // the peer's wants
}

// state returns what the node remembers of a peer, if anything.
func (n *node) state(p peer.ID) (s peerState, known bool) {
	n.Bitswap.mu.Lock()
	r := n.remotes[p]
	n.Bitswap.mu.Unlock()
	if r == nil {
		return peerState{}, false
	}
	r.server.mu.Lock()
	s.asked = len(r.server.wants)
	r.server.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.wantedBytes, s.unwantedBytes = r.wantedBytes.Load(), r.unwantedBytes.Load()
	s.outstanding, s.queued = r.outstanding, r.queue.Len()
	for _, w := range r.late.at {
		s.late += w.n
	}
	return s, true
}

// peers returns how many peers the node remembers.
func (n *node) peers() int {
	n.Bitswap.mu.Lock()
	defer n.Bitswap.mu.Unlock()
	return len(n.remotes)
}

// unwantedBytes is what so many blocks that were not asked for count.
func unwantedBytes(blocks, size int) int64 {
	return int64(blocks) * block.Internal(access.Key{}).UnwantedBytes(size)
}

// free returns how much of a budget can be taken at once.
func (b *budget) free() int {
	return sort.Search(b.total, func(n int) bool {
		if !b.semaphore.TryAcquire(int64(n + 1)) {
			return true
		}
		b.release(n + 1)
		return false
	})
}
