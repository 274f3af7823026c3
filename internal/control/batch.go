package control

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"sync"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

// batchBuffer is how many bytes of blocks are gathered before they are sent.
const batchBuffer = 256 << 10

// A change is one change of a batch that is no block.
type change struct {
	// Alias is set to CID; or Remove is the name of an alias to remove.
	Alias   string             `json:"alias,omitempty"`
	CID     cid.Cid            `json:"cid,omitzero"`
	Options store.AliasOptions `json:"options,omitzero"`
	Remove  *string            `json:"remove,omitempty"`
}

// BatchArgs are a batch: a multipart body of parts "blocks", which are CARs, and
// parts "changes", which are JSON lines.
type BatchArgs struct {
	Boundary string    `json:"boundary"`
	Body     io.Reader `json:"-"`
}

// ApplyBatch makes all changes of a batch, or none. When it returns, they are
// durable. Target.Batch sends such batches.
var ApplyBatch = Call[BatchArgs, struct{}]{
	Path: "batch",
	Body: func(a *BatchArgs) *io.Reader { return &a.Body },
	Run: func(ctx context.Context, n *cairn.Node, a BatchArgs) (none struct{}, err error) {
		batch := n.Batch()
		defer batch.Discard()
		for p, err := range httpapi.ReadParts(a.Body, a.Boundary) {
			if err != nil {
				return none, err
			}
			switch p.Name {
			case "blocks":
				_, err = cairn.PutCAR(ctx, batch, p)
			case "changes":
				err = readChanges(batch, p)
			default:
				err = httpapi.BadRequest("batch: invalid part %.64q: want blocks or changes", p.Name)
			}
			if err != nil {
				return none, err
			}
		}
		return none, batch.Commit(ctx)
	},
}

func readChanges(batch *store.Batch, r io.Reader) error {
	count := 0
	for line, err := range readLines(r) {
		if err != nil {
			return err
		}
		if count++; count > httpapi.MaxParts {
			return httpapi.BadRequest("batch: more than %d changes", httpapi.MaxParts)
		}
		var c change
		if err := decodeArguments(line, &c); err != nil {
			return httpapi.BadRequest("batch: read a change: %w", err)
		}
		if c.Remove != nil {
			batch.RemoveAlias(*c.Remove)
			continue
		}
		batch.Alias(c.Alias, c.CID, c.Options)
	}
	return nil
}

// A remoteBatch is the batch of a daemon. Its blocks are sent as they come.
type remoteBatch struct {
	daemon *daemon

	mu      sync.Mutex // guards the following
	sending *sending   // nil until the first Put
	changes []change
	ended   bool
}

var _ Batch = (*remoteBatch)(nil)

var errBatchEnded = errors.New("the batch has ended")

// A sending is a request under way whose body is being written.
type sending struct {
	cancel context.CancelFunc
	pipe   *io.PipeWriter
	buffer *bufio.Writer
	form   *multipart.Writer
	blocks *car.Writer
	done   chan struct{} // closed when the answer is here, which is then err
	err    error
}

// begin starts the request, which serves several calls, and so outlives the
// context of the first.
func (b *remoteBatch) begin() *sending {
	ctx, cancel := context.WithCancel(context.Background())
	in, out := io.Pipe()
	s := &sending{cancel: cancel, pipe: out, buffer: bufio.NewWriterSize(out, batchBuffer), done: make(chan struct{})}
	s.form = multipart.NewWriter(s.buffer)
	go func() {
		defer close(s.done)
		_, s.err = ApplyBatch.Do(ctx, &Target{daemon: b.daemon}, BatchArgs{Boundary: s.form.Boundary(), Body: ownPipe{in}})
		// A writer gets the reason why its bytes are not read.
		in.CloseWithError(cmp.Or(s.err, errBatchEnded))
	}()
	return s
}

func (s *sending) part(name, contentType string) (io.Writer, error) {
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", fmt.Sprintf("form-data; name=%q", name))
	h.Set("Content-Type", contentType)
	return s.form.CreatePart(h)
}

// Put sends blocks to the daemon.
func (b *remoteBatch) Put(ctx context.Context, blocks ...block.Block) error {
	if len(blocks) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errBatchEnded
	}
	if b.sending == nil {
		b.sending = b.begin()
	}
	s := b.sending
	return s.during(ctx, func() error {
		if s.blocks == nil {
			w, err := s.part("blocks", carType)
			if err != nil {
				return err
			}
			if s.blocks, err = car.NewWriter(w, nil); err != nil {
				return err
			}
		}
		for _, k := range blocks {
			if err := s.blocks.Put(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// during does something with the request that ends with ctx. If it fails because
// the daemon has answered, the answer is the error.
func (s *sending) during(ctx context.Context, do func() error) error {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	err := do()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, io.ErrClosedPipe) {
		<-s.done // the daemon has answered, or will never
		err = cmp.Or(s.err, err)
	}
	// The cause, without the block whose writing failed.
	var answer *Error
	if errors.As(err, &answer) {
		return answer
	}
	return err
}

// Alias sets an alias, or changes it, with Commit.
func (b *remoteBatch) Alias(name string, root cid.Cid, o store.AliasOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, change{Alias: name, CID: root, Options: o})
}

// RemoveAlias removes an alias, with Commit.
func (b *remoteBatch) RemoveAlias(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, change{Remove: &name})
}

// Commit makes the changes, all or none. When it returns nil, they are durable.
func (b *remoteBatch) Commit(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errBatchEnded
	}
	b.ended = true
	// A commit that is cancelled before it begins does nothing; after that, it may
	// have been done.
	if err := context.Cause(ctx); err != nil {
		if b.sending != nil {
			b.sending.end()
		}
		return err
	}
	if b.sending == nil {
		b.sending = b.begin()
	}
	s := b.sending
	defer s.end()
	return s.during(ctx, func() error {
		err := s.finish(b.changes)
		<-s.done
		return cmp.Or(s.err, err)
	})
}

// finish writes the rest of the body.
func (s *sending) finish(changes []change) error {
	w, err := s.part("changes", "application/x-ndjson")
	if err != nil {
		return err
	}
	for _, c := range changes {
		line, err := JSON(c)
		if err == nil {
			_, err = w.Write(append(line, '\n'))
		}
		if err != nil {
			return err
		}
	}
	if err := s.form.Close(); err != nil {
		return err
	}
	if err := s.buffer.Flush(); err != nil {
		return err
	}
	return s.pipe.Close()
}

// end ends the request, if it hasn't, and waits.
func (s *sending) end() {
	s.cancel()
	s.pipe.CloseWithError(errBatchEnded)
	<-s.done
}

// Discard ends the batch without its changes; after Commit it does nothing.
func (b *remoteBatch) Discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.ended = true
	if b.sending != nil {
		b.sending.end()
	}
}
