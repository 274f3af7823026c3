package bitswap

import (
	"context"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/block"
)

const (
	// maxWants is the most open wants of a conversation: a hundred times what is
	// under way at once, and a few tens of MiB of memory.
	maxWants = 100_000

	// maxUnread is the most bytes of replies that wait for Next. Beyond it, the
	// peer isn't read from.
	maxUnread = 8 << 20

	// replyOverhead is what a reply counts besides the bytes of its block.
	replyOverhead = 128
)

// ReplyKind says what a peer answered.
type ReplyKind uint8

// The kinds of replies. Each of them ends the want.
const (
	// Block: the block, verified. It may come in answer to WantHave.
	Block ReplyKind = iota
	// Have: the peer has the block.
	Have
	// DontHave: the peer doesn't have the block, or doesn't send it.
	DontHave
)

// A Reply is an answer of a peer.
type Reply struct {
	Kind ReplyKind
	// CID is as in Want.
	CID cid.Cid
	// Block is the block, if Kind is Block. Its memory may be shared with
	// other conversations.
	Block block.Block
}

// A Conversation is one caller's wants of one peer, and the replies. It must be
// read with Next until it is closed: more than a few MiB of unread replies hold up
// the peer's other conversations.
type Conversation struct {
	r     *remote
	wants map[*want]struct{} // guarded by r.mu

	more  chan struct{} // there may be something unread
	space chan struct{} // there may be room for more
	over  chan struct{} // closed at the end

	mu     sync.Mutex // guards the following; taken after r.mu
	unread []Reply
	first  int // of unread
	bytes  int
	err    error
	closed bool
}

// Open begins a conversation with a peer. It connects first unless there is a
// connection; one through a relay doesn't count. Errors: ErrGone, ErrMisbehaved,
// ErrClosed, the context's.
func (b *Bitswap) Open(ctx context.Context, p peer.ID) (*Conversation, error) {
	r := b.hold(p)
	c := &Conversation{
		r:     r,
		wants: make(map[*want]struct{}),
		more:  make(chan struct{}, 1),
		space: make(chan struct{}, 1),
		over:  make(chan struct{}),
	}
	s, err := r.join(c)
	if err != nil {
		b.release(r)
		return nil, fmt.Errorf("bitswap: peer %s: %w", p, err)
	}
	select {
	case <-s.up:
		return c, nil
	case <-c.over:
		err := c.reason()
		c.Close()
		return nil, err
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("bitswap: open to %s: %w", p, ctx.Err())
	}
}

// Peer returns the peer of the conversation.
func (c *Conversation) Peer() peer.ID { return c.r.id }

// Want asks for blocks, or whether the peer has them: those of higher priority
// first (-16 to 15), among equals in order. With sendDontHave the peer says so if
// it doesn't have a block. Without it, or over an older version of the protocol,
// the peer says nothing until it has the block.
//
// Want returns at once; wants beyond Config.MaxOutstanding are queued. Errors:
// ErrTooMany, the conversation's, those of [block.CheckCID]. After an error nothing
// was asked for.
func (c *Conversation) Want(kind Want, sendDontHave bool, priority int, cids ...cid.Cid) error {
	for _, id := range cids {
		if err := block.CheckCID(id); err != nil {
			return fmt.Errorf("bitswap: want: %w", err)
		}
	}
	if kind != WantBlock {
		kind = WantHave
	}
	return c.r.add(c, kind, sendDontHave, min(max(priority, minPriority), maxPriority), cids)
}

// Cancel cancels wants. Replies that are on their way, or unread, may still come.
func (c *Conversation) Cancel(cids ...cid.Cid) {
	defined := make([]cid.Cid, 0, len(cids))
	for _, id := range cids {
		if id.Defined() {
			defined = append(defined, id)
		}
	}
	c.r.withdraw(c, defined)
}

// Next waits for the next reply. After the last one it fails with ErrGone or
// ErrMisbehaved if the conversation ended so, with ErrClosed after Close, or with
// the context's error.
func (c *Conversation) Next(ctx context.Context) (Reply, error) {
	for {
		if reply, ok := c.take(); ok {
			return reply, nil
		}
		select {
		case <-c.more:
		case <-c.over:
			if reply, ok := c.take(); ok {
				return reply, nil
			}
			return Reply{}, c.reason()
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		}
	}
}

// take takes the first unread reply.
func (c *Conversation) take() (Reply, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == len(c.unread) {
		return Reply{}, false
	}
	reply := c.unread[c.first]
	c.unread[c.first] = Reply{}
	c.first++
	c.bytes -= reply.size()
	if c.first == len(c.unread) {
		c.unread, c.first = c.unread[:0], 0
	} else {
		signal(c.more) // for another reader
	}
	if c.bytes < maxUnread {
		signal(c.space)
	}
	return reply, true
}

func (r Reply) size() int { return r.Block.Size() + replyOverhead }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// deliver adds a reply once there is room.
func (c *Conversation) deliver(reply Reply) {
	for !c.offer(reply) {
		select {
		case <-c.space:
		case <-c.over:
			return
		}
	}
}

// offer adds a reply if there is room. After Close it drops it.
func (c *Conversation) offer(reply Reply) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes >= maxUnread && !c.closed {
		return false
	}
	c.putLocked(reply)
	if c.bytes < maxUnread {
		signal(c.space) // for another stream
	}
	return true
}

// put adds a reply even if there is no room.
func (c *Conversation) put(reply Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(reply)
}

func (c *Conversation) putLocked(reply Reply) {
	if c.closed {
		return
	}
	if c.first > 0 && len(c.unread) == cap(c.unread) {
		n := copy(c.unread, c.unread[c.first:])
		clear(c.unread[n:])
		c.unread, c.first = c.unread[:n], 0
	}
	c.unread = append(c.unread, reply)
	c.bytes += reply.size()
	signal(c.more)
}

// end ends the conversation with an error, unless it has ended. Unread replies can
// still be read.
func (c *Conversation) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.over)
	}
}

func (c *Conversation) ended() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

func (c *Conversation) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close cancels open wants and drops unread replies. Further calls do nothing.
func (c *Conversation) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.unread, c.first, c.bytes = nil, 0, 0
	c.mu.Unlock()
	c.end(fmt.Errorf("bitswap: conversation with %s: %w", c.r.id, ErrClosed))
	c.r.leave(c)
	c.r.b.release(c.r)
}
