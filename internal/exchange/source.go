package exchange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// A Source is a peer or a gateway that a session asks. It is also a Streamer, an
// Answerer, or both.
type Source interface {
	// Name identifies the source to users: a peer's id, a URL. A session asks
	// one source of a name.
	Name() string
}

// A ReadCounter is a Source that counts reads from the network, so that a block
// that takes long is seen to be on its way.
type ReadCounter interface {
	Source
	// Reads is the number of reads that returned bytes.
	Reads() int64
}

// A Streamer sends whole DAGs.
type Streamer interface {
	Source
	// Stream asks for the DAG below root, depth-first, without the DAGs of have.
	// Errors: ErrCannotStream; block.ErrNotFound, if the source doesn't have the
	// root; a *BusyError.
	Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (Stream, error)
}

// A Stream is a DAG on its way.
type Stream interface {
	// Honoured reports whether at least one DAG of have is left out.
	Honoured() bool
	// Blocks yields the blocks that come. Each matches its CID, but may not be
	// wanted. It can be ranged over once.
	Blocks() iter.Seq2[block.Block, error]
	// Close ends the stream at once.
	Close() error
}

// An Answerer answers for single blocks.
type Answerer interface {
	Source
	// Open begins a conversation, which goes on until Close, whatever happens to
	// ctx.
	Open(ctx context.Context) (Conversation, error)
}

// A Conversation is what one session asks of one source. Want and Cancel are
// called by one goroutine, Next by another, Close by either.
type Conversation interface {
	// Want asks for blocks, which come in any order.
	Want(ctx context.Context, cids ...cid.Cid) error
	// Has asks whether the source has a block.
	Has(ctx context.Context, c cid.Cid) error
	// Cancel cancels wants.
	Cancel(cids ...cid.Cid)
	// Next returns the next reply. An error ends the conversation.
	Next(ctx context.Context) (Reply, error)
	Close() error
}

// A Reply is a source's answer for one block.
type Reply struct {
	// CID is as in Want or Has.
	CID cid.Cid
	// Block is the zero Block if only the presence is known.
	Block block.Block
	// Has reports whether the source has the block.
	Has bool
	// Busy, if not nil, is why there's no answer. Other wants may still be
	// answered.
	Busy *BusyError
}

// A BusyError says that a source takes no more questions for a while.
type BusyError struct {
	Wait time.Duration // 0 if the source didn't say
	Err  error         // the source's answer
}

// Error implements error.
func (e *BusyError) Error() string { return fmt.Sprintf("busy: %v", e.Err) }

// Unwrap returns the source's answer.
func (e *BusyError) Unwrap() error { return e.Err }

// ErrCannotStream: a Streamer turned out not to send DAGs.
var ErrCannotStream = errors.New("source can't send DAGs")
