package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"sync"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/ipfs/go-cid"
)

const (
	// carType is a CAR's media type.
	carType = "application/vnd.ipld.car"
	// batchBuffer is how many bytes of blocks are gathered before they go out.
	batchBuffer = 256 << 10
)

// A changeShape is one change of a batch that is no block.
type changeShape struct {
	// Alias is set to CID; or Remove is the name of one that goes.
	Alias     string          `json:"alias,omitempty"`
	CID       string          `json:"cid,omitempty"`
	Selection *selectionShape `json:"selection,omitempty"`
	Hold      bool            `json:"hold,omitempty"`
	Remove    *string         `json:"remove,omitempty"`
}

// batch takes in blocks and aliases in one step. The body has parts "blocks",
// CARs, and parts "changes", JSON lines. It is answered when all is durable.
func (c *call) batch() error {
	batch := c.node.Batch()
	defer batch.Discard()
	for p, err := range c.parts() {
		if err != nil {
			return err
		}
		switch p.name {
		case "blocks":
			_, err = cairn.ImportCAR(c.ctx, batch, p)
		case "changes":
			err = takeChanges(batch, p)
		default:
			err = badRequest("batch: there is no part %.64q, only blocks and changes", p.name)
		}
		if err != nil {
			return err
		}
	}
	return batch.Commit(c.ctx)
}

func takeChanges(batch *store.Batch, r io.Reader) error {
	count := 0
	for line, err := range readLines(r) {
		if err != nil {
			return err
		}
		if count++; count > maxParts {
			return badRequest("batch: more than %d changes", maxParts)
		}
		var change changeShape
		if err := json.Unmarshal(line, &change); err != nil {
			return badRequest("batch: read a change: %w", err)
		}
		if change.Remove != nil {
			batch.RemoveAlias(*change.Remove)
			continue
		}
		root, err := cid.Decode(change.CID)
		if err != nil {
			return badRequest("batch: alias %.200q: %w", change.Alias, err)
		}
		sel, err := change.Selection.selection()
		if err != nil {
			return err
		}
		batch.Alias(change.Alias, root, store.AliasOptions{Selection: sel, Hold: change.Hold})
	}
	return nil
}

// A Batch gathers blocks and aliases that are kept together, or not at all, as
// store.Batch does. Its blocks go to the daemon as they come. Commit or Discard
// must be called.
type Batch struct {
	client *Client

	mu      sync.Mutex // guards the following
	sending *sending   // nil until something is put
	changes []changeShape
	ended   bool
}

// Batch begins a batch.
func (c *Client) Batch() *Batch { return &Batch{client: c} }

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

// begin starts the request. It outlives the context that it is begun with:
// several calls share it.
func (b *Batch) begin() *sending {
	ctx, cancel := context.WithCancel(context.Background())
	in, out := io.Pipe()
	s := &sending{cancel: cancel, pipe: out, buffer: bufio.NewWriterSize(out, batchBuffer), done: make(chan struct{})}
	s.form = multipart.NewWriter(s.buffer)
	r := request{verb: "cairn/batch", body: in, content: s.form.FormDataContentType(), ends: true}
	go func() {
		defer close(s.done)
		s.err = b.client.call(ctx, r, nil)
		// Whoever still writes is told why nobody reads.
		in.CloseWithError(cmpError(s.err, errBatchEnded))
	}()
	return s
}

func cmpError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (s *sending) part(name, contentType string) (io.Writer, error) {
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", fmt.Sprintf("form-data; name=%q", name))
	h.Set("Content-Type", contentType)
	return s.form.CreatePart(h)
}

// Put sends blocks to the daemon.
func (b *Batch) Put(ctx context.Context, blocks ...block.Block) error {
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

// during does something with the request that ends with ctx. Where it fails
// since the daemon has answered, the answer is the error.
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
		err = cmpError(s.err, err)
	}
	// Not that the writing of some block failed, but why.
	var answer *Error
	if errors.As(err, &answer) {
		return answer
	}
	return err
}

// Alias sets an alias, or changes it, with Commit.
func (b *Batch) Alias(name string, root cid.Cid, o store.AliasOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, changeShape{
		Alias: name, CID: root.String(), Selection: shapeOfSelection(o.Selection), Hold: o.Hold,
	})
}

// RemoveAlias removes an alias, with Commit.
func (b *Batch) RemoveAlias(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, changeShape{Remove: &name})
}

// Commit makes the changes, all or none. When it returns nil, they are durable.
func (b *Batch) Commit(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errBatchEnded
	}
	b.ended = true
	// What is called off before it began isn't done: later it may be, or not.
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
		return cmpError(s.err, err)
	})
}

// finish writes the rest of the body.
func (s *sending) finish(changes []changeShape) error {
	w, err := s.part("changes", "application/x-ndjson")
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	for _, change := range changes {
		if err := out.Encode(change); err != nil {
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
func (b *Batch) Discard() {
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

var _ block.Putter = (*Batch)(nil)
