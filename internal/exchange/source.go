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

// A Source is somebody to ask. It is also a Streamer, or an Asker, or both.
type Source interface {
	// Name is what a user knows the source by: a peer's id, a URL. Two sources
	// of one name are the same.
	Name() string
}

// A ReadCounter is a Source that notices when something comes, though it's not a whole
// block yet.
type ReadCounter interface {
	Source
	// Heard is another number each time that something has come.
	Reads() int64
}

// A Streamer sends DAGs whole.
type Streamer interface {
	Source
	// Stream asks for the DAG below root, depth-first, without what lies in
	// the DAGs of have. Errors: ErrCannotStream, if this one can't after all;
	// block.ErrNotFound, if it hasn't got the root; a *BusyError.
	Stream(ctx context.Context, root cid.Cid, have []cid.Cid) (Stream, error)
}

// A Stream is a DAG on its way.
type Stream interface {
	// Honoured tells whether the DAGs the asker has are left out, at least
	// one of them.
	Honoured() bool
	// Blocks are what comes. Each matches its CID; whether anybody wants it is
	// for the receiver to say. It can be ranged over once.
	Blocks() iter.Seq2[block.Block, error]
	// Close ends the stream at once.
	Close() error
}

// An Asker is asked for single blocks.
type Asker interface {
	Source
	// Open begins a conversation. It goes on until Close, whatever becomes of
	// ctx.
	Open(ctx context.Context) (Conversation, error)
}

// A Conversation is what one session asks of one source. Want and Cancel are
// called by one goroutine, Next by another, Close by either.
type Conversation interface {
	// Want asks for blocks. They come in any order.
	Want(ctx context.Context, cids ...cid.Cid) error
	// Has asks whether the source has a block.
	Has(ctx context.Context, c cid.Cid) error
	// Cancel takes back what was asked for and has not come.
	Cancel(cids ...cid.Cid)
	// Next returns what came. An error is the end of the conversation.
	Next(ctx context.Context) (Reply, error)
	Close() error
}

// A Reply is what a source answers: it's about CID, as it was asked for.
type Reply struct {
	CID cid.Cid
	// Block is the zero Block if only the presence was told.
	Block block.Block
	// Has tells whether the source has it.
	Has bool
	// Busy, if not nil, is why there's no answer. What else was asked for may
	// still come.
	Busy *BusyError
}

// A BusyError says that a source asks not to be asked for a while.
type BusyError struct {
	Wait time.Duration // how long; 0 if it didn't say
	Err  error         // what it said
}

// Error implements error.
func (e *BusyError) Error() string { return fmt.Sprintf("busy: %v", e.Err) }

// Unwrap returns what the source said.
func (e *BusyError) Unwrap() error { return e.Err }

// ErrCannotStream says that a source that looked like a Streamer is none.
var ErrCannotStream = errors.New("source can't send DAGs")
