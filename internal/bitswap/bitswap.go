package bitswap

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/block"
)

// The errors that callers test for with [errors.Is].
var (
	// ErrClosed: the Bitswap or the Conversation was closed.
	ErrClosed = errors.New("bitswap closed")
	// ErrGone: the peer can't be reached.
	ErrGone = errors.New("peer is gone")
	// ErrMisbehaved: the peer broke the protocol, or sent too many blocks that
	// were not asked for.
	ErrMisbehaved = errors.New("peer misbehaved")
	// ErrTooMany: more wants than a conversation may have.
	ErrTooMany = errors.New("too many wants")
)

// Blocks are the blocks that peers are answered from: those that are here.
type Blocks interface {
	block.Getter
	block.Haver
	block.Sizer
}

// Config says how a Bitswap works. Only Host is required.
type Config struct {
	// Host carries the streams. It isn't closed by Close.
	Host host.Host
	// Blocks are the blocks that peers are answered from; nil means that peers
	// get no answers.
	Blocks Blocks
	// Logger logs faults of peers; nil means silence.
	Logger *slog.Logger

	// MaxOutstanding is the most wants unanswered at a peer; more are queued
	// here. Zero means 1,000.
	MaxOutstanding int
	// MaxAsked is the most wants of a peer that are remembered; more are
	// dropped. Zero means 6,144.
	MaxAsked int
	// WantRate is how many wants a second a peer may add, besides those that were
	// answered with a block or a HAVE. Zero means 2,000.
	WantRate int
	// MaxMemory is the most bytes of blocks on their way to all peers, and again
	// on their way from all peers. Zero means 32 MiB.
	MaxMemory int
	// MessageSize is the bytes of blocks that a message is filled up to.
	// Zero means 512 KiB.
	MessageSize int
	// StallTimeout is how long a peer may take to read 64 KiB before its want
	// list is dropped. Zero means 30 s.
	StallTimeout time.Duration
	// IdleTimeout is how long a stream stays open with nothing to send. Zero
	// means 5 s: Helia aborts idle streams after 10.
	IdleTimeout time.Duration
	// ReaskTimeout is how long a peer that owes answers may send nothing before
	// all wants are sent again; the time doubles each time. Zero means 5 s.
	ReaskTimeout time.Duration
}

const (
	// defaultMaxOutstanding stays below the 1,024 wants a peer that boxo's
	// server keeps; it drops the rest silently.
	defaultMaxOutstanding = 1000

	// defaultMaxAsked is six times what boxo's server remembers of a peer, as
	// boxo's client sends all of its wants at once; about 1.5 MiB of memory.
	defaultMaxAsked = 6 << 10

	// maxAskedInAll bounds the memory for the wants of all peers, 250 bytes
	// each. Beyond it a peer may have as many as boxo's server remembers,
	// spareAsked.
	maxAskedInAll = 96 << 10
	spareAsked    = 1 << 10

	// defaultWantRate bounds the lookups for blocks that aren't here: those of
	// all peers take a part of one processor. wantsAtOnce is how many wants a
	// peer may add at once.
	defaultWantRate = 2_000
	wantsAtOnce     = 16 << 10

	defaultMaxMemory = 32 << 20

	// maxPeerMemory is the most bytes of blocks coming in from one peer,
	// before they are handed to their conversations.
	maxPeerMemory = 4 << 20

	// maxPeerAnswers is the most bytes of blocks on their way to one peer: those
	// of the message that is sent, and of the next.
	maxPeerAnswers = 2 * (maxMessageSize + maxPayloadOverhead)

	// defaultMessageSize is large enough that messages cost nothing beside
	// their blocks, and leaves room for a block of 2 MiB below maxMessage.
	defaultMessageSize = 512 << 10
	maxMessageSize     = 512 << 10

	defaultStallTimeout = 30 * time.Second
	defaultIdleTimeout  = 5 * time.Second
	defaultReaskTimeout = 5 * time.Second

	// openTimeout is how long a stream may take to open, a dial included.
	openTimeout = 30 * time.Second

	// closeTimeout is how long a closed stream waits for the peer to close its
	// side.
	closeTimeout = 10 * time.Second

	// maxInbound is the most streams that a peer may have open to us. boxo
	// opens one for each answer of 16 KiB and doesn't wait for it to be read,
	// so there may be one for each few wants. The host's resource manager
	// should let as many through: answers it refuses are lost.
	maxInbound = 512

	// maxStranger is the most streams of a peer that nothing was asked of: known
	// clients have one or two.
	maxStranger = 16

	// readTurns is how many peers' messages are put together at once: enough for
	// a slow backing. More would only change the order of the peers.
	readTurns = 16
)

// A Bitswap exchanges blocks with the peers of one host.
type Bitswap struct {
	config Config
	host   host.Host
	blocks Blocks
	log    *slog.Logger

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	readers sync.Pool // of *bufio.Reader, for inbound messages
	writers sync.Pool // of *bufio.Writer, for answers

	memoryIn, memoryOut *budget // bytes of blocks under way
	turns               *budget // of putting messages together

	parked  parkedLines  // wants for blocks that aren't here
	asked   atomic.Int64 // wants remembered, of all peers
	arrived atomic.Int64 // calls of Have

	notifiee network.Notifiee
	running  sync.WaitGroup

	lifeMu sync.Mutex // guards closed, and running against growing after it
	closed bool

	fillMu  sync.Mutex             // guards filling
	filling map[*receiver]struct{} // those that hold memory for a block

	mu      sync.Mutex // guards the following; taken before a remote's
	remotes map[peer.ID]*remote
}

// New returns a Bitswap, which answers the host's peers from now on.
func New(c Config) (*Bitswap, error) {
	if c.Host == nil {
		return nil, errors.New("bitswap: no host")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.MaxOutstanding = orDefault(c.MaxOutstanding, defaultMaxOutstanding)
	c.MaxAsked = orDefault(c.MaxAsked, defaultMaxAsked)
	c.WantRate = orDefault(c.WantRate, defaultWantRate)
	c.MaxMemory = orDefault(c.MaxMemory, defaultMaxMemory)
	c.MessageSize = min(orDefault(c.MessageSize, defaultMessageSize), maxMessageSize)
	c.StallTimeout = orDefault(c.StallTimeout, defaultStallTimeout)
	c.IdleTimeout = orDefault(c.IdleTimeout, defaultIdleTimeout)
	c.ReaskTimeout = orDefault(c.ReaskTimeout, defaultReaskTimeout)

	ctx, cancel := context.WithCancel(context.Background())
	b := &Bitswap{
		config:    c,
		host:      c.Host,
		blocks:    c.Blocks,
		log:       c.Logger,
		ctx:       ctx,
		cancel:    cancel,
		readers:   sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }},
		writers:   sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }},
		memoryIn:  newBudget(c.MaxMemory),
		memoryOut: newBudget(c.MaxMemory),
		turns:     newBudget(readTurns),
		remotes:   make(map[peer.ID]*remote),
	}
	b.notifiee = &network.NotifyBundle{DisconnectedF: func(_ network.Network, conn network.Conn) {
		b.disconnected(conn.RemotePeer())
	}}
	b.host.Network().Notify(b.notifiee)
	for _, id := range protocols() {
		b.host.SetStreamHandler(id, b.handle)
	}
	return b, nil
}

func orDefault[T int | time.Duration](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}

// Close ends all conversations, stops answering, and waits for every goroutine.
// Further calls do nothing.
func (b *Bitswap) Close() error {
	b.lifeMu.Lock()
	first := !b.closed
	b.closed = true
	b.lifeMu.Unlock()
	if first {
		for _, id := range protocols() {
			b.host.RemoveStreamHandler(id)
		}
		b.host.Network().StopNotify(b.notifiee)
		b.cancel()
		for _, r := range b.snapshot() {
			r.fail(ErrClosed)
		}
	}
	b.running.Wait()
	return nil
}

// run runs f in a goroutine that Close waits for. After Close it doesn't, and
// returns false.
func (b *Bitswap) run(f func()) bool {
	b.lifeMu.Lock()
	defer b.lifeMu.Unlock()
	if b.closed {
		return false
	}
	b.running.Go(f)
	return true
}

func (b *Bitswap) snapshot() []*remote {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*remote, 0, len(b.remotes))
	for _, r := range b.remotes {
		all = append(all, r)
	}
	return all
}

// hold returns the remote of a peer, and keeps it until release.
func (b *Bitswap) hold(p peer.ID) *remote {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.remotes[p]
	if r == nil {
		r = newRemote(b, p)
		b.remotes[p] = r
	}
	r.holders++
	return r
}

// release undoes hold. A remote without holders is forgotten unless its peer is
// connected.
func (b *Bitswap) release(r *remote) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.holders--
	b.forget(r)
}

// forget clears the want list of a peer that isn't connected, and removes the
// remote if it has no holders. b.mu is held.
func (b *Bitswap) forget(r *remote) {
	if b.connected(r.id) {
		return
	}
	r.server.clear()
	if r.holders == 0 && b.remotes[r.id] == r {
		delete(b.remotes, r.id)
	}
}

// connected reports whether there is a connection to p that isn't relayed.
func (b *Bitswap) connected(p peer.ID) bool {
	return b.host.Network().Connectedness(p) == network.Connected
}

// disconnected is called when a connection to p has ended.
func (b *Bitswap) disconnected(p peer.ID) {
	if b.connected(p) {
		return
	}
	b.mu.Lock()
	r := b.remotes[p]
	if r != nil {
		b.forget(r)
	}
	b.mu.Unlock()
	if r != nil {
		r.disconnected()
	}
}

// handle serves a stream that a peer opened.
func (b *Bitswap) handle(s network.Stream) {
	// No blocks through a relay, which others pay for.
	if s.Conn().Stat().Limited {
		s.Reset()
		return
	}
	done := make(chan struct{})
	if !b.run(func() { <-done }) {
		s.Reset()
		return
	}
	defer close(done)
	r := b.hold(s.Conn().RemotePeer())
	defer b.release(r)
	if n := r.inbound.Add(1); n > maxInbound || n > maxStranger && !r.expecting() {
		r.inbound.Add(-1)
		s.Reset()
		r.streamBroke()
		return
	}
	defer r.inbound.Add(-1)
	stop := context.AfterFunc(b.ctx, func() { s.Reset() })
	defer stop()
	if !r.read(s) {
		s.Reset()
		if !s.Conn().IsClosed() { // then the sender notices by itself
			r.streamBroke()
		}
		return
	}
	// The peer has closed its side, so this doesn't wait for it.
	s.Close()
}

// Reads counts the reads from a peer's streams that returned bytes. It starts at
// zero with each connection.
func (b *Bitswap) Reads(p peer.ID) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.remotes[p]; r != nil {
		return r.reads.Load()
	}
	return 0
}
