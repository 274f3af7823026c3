package rpc

import (
	"bufio"
	"context"
	"errors"
	"hash/maphash"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/ipfs/go-cid"
)

const (
	// maxAhead is how many bytes of blocks that nobody has asked for yet are
	// held, before what is looked for is asked for by itself: several times what
	// a file reads ahead.
	maxAhead = 32 << 20
	// maxRecent is how many bytes of blocks that were asked for are held, for
	// those that occur again. A stream has each block once.
	maxRecent = 8 << 20
	// streamBuffer is how much of the stream is read at once, in bytes.
	streamBuffer = 256 << 10
)

// A DAGReader gets the blocks of a DAG for somebody who is going to want most of
// them, about depth first: they come in one stream. What comes in another order
// is asked for by itself. Each block is verified. It is safe for concurrent use,
// and has to be closed.
type DAGReader struct {
	client *Client
	cancel context.CancelFunc
	body   io.Closer // nil if there is no stream
	trail  func() error

	turn chan struct{} // holds a token while the following are used
	in   *car.Reader   // nil once the stream has ended
	err  error         // why, if it broke off
	seed maphash.Seed
	// passed are hashes of all that has come; two that are equal cost a request.
	passed map[uint64]struct{}
	ahead  map[string]block.Block // by multihash, not asked for yet
	recent map[string]block.Block
	order  []string // of recent, the oldest first
	bytes  struct{ ahead, recent int }
}

var _ block.Getter = (*DAGReader)(nil)

// DAG begins to read the DAG below root, of which each block has to be at the
// daemon. It reads with ctx until it's closed.
func (c *Client) DAG(ctx context.Context, root cid.Cid) (*DAGReader, error) {
	d := &DAGReader{
		client: c, turn: make(chan struct{}, 1), seed: maphash.MakeSeed(), passed: make(map[uint64]struct{}),
		ahead: make(map[string]block.Block), recent: make(map[string]block.Block),
	}
	ctx, d.cancel = context.WithCancel(ctx)
	if err := d.begin(ctx, root); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *DAGReader) begin(ctx context.Context, root cid.Cid) error {
	resp, err := d.client.do(ctx, ourVerb("dag/export", root.String()))
	var answer *Error
	if errors.As(err, &answer) {
		return nil // Get says what is wrong with the block
	}
	if err != nil {
		return err
	}
	d.body = resp.Body
	d.trail = func() error { return trailerError(resp.Trailer) }
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if err != nil && err != io.EOF {
			err = d.client.cut(ctx, err)
		}
		return n, err
	})
	if d.in, err = car.NewReader(bufio.NewReaderSize(body, streamBuffer)); err != nil {
		d.end(err)
	}
	return d.err
}

// Close ends the stream.
func (d *DAGReader) Close() {
	d.cancel()
	if d.body != nil {
		// There is nothing to be saved of what has not been read.
		_ = d.body.Close()
	}
}

// Get returns a block of the DAG, or any other that is at the daemon.
func (d *DAGReader) Get(ctx context.Context, c cid.Cid) (block.Block, error) {
	if b, inlined := block.Inlined(c); inlined {
		return b, nil
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return block.Block{}, context.Cause(ctx)
	}
	b, found, err := d.find(c)
	<-d.turn
	switch {
	case err != nil:
		return block.Block{}, err
	case found:
		return b.WithCID(c)
	}
	b, err = d.client.Get(ctx, c)
	if err == nil {
		d.turn <- struct{}{}
		d.remember(string(c.Hash()), b)
		<-d.turn
	}
	return b, err
}

// find looks for a block in what has come, and in what comes next.
func (d *DAGReader) find(c cid.Cid) (block.Block, bool, error) {
	key := string(c.Hash())
	if b, held := d.recent[key]; held {
		return b, true, nil
	}
	if b, held := d.ahead[key]; held {
		delete(d.ahead, key)
		d.bytes.ahead -= b.Size()
		d.remember(key, b)
		return b, true, nil
	}
	if _, passed := d.passed[d.hash(key)]; passed {
		return block.Block{}, false, nil
	}
	for d.in != nil && d.bytes.ahead <= maxAhead {
		b, err := d.in.Next()
		if err != nil {
			d.end(err)
			break
		}
		came := string(b.CID().Hash())
		d.passed[d.hash(came)] = struct{}{}
		if came == key {
			d.remember(key, b)
			return b, true, nil
		}
		if _, twice := d.ahead[came]; !twice {
			d.ahead[came] = b
			d.bytes.ahead += b.Size()
		}
	}
	return block.Block{}, false, d.err
}

// end notes why there's no more. Where the daemon couldn't go on, it tells of
// the block that is wanted what is wrong with it: it need not be the same.
func (d *DAGReader) end(err error) {
	d.in = nil
	if err != io.EOF && d.trail() == nil {
		d.err = err
	}
}

func (d *DAGReader) hash(key string) uint64 { return maphash.String(d.seed, key) }

// remember holds a block for those who ask for it again.
func (d *DAGReader) remember(key string, b block.Block) {
	if _, held := d.recent[key]; held {
		return
	}
	d.recent[key] = b
	d.order = append(d.order, key)
	d.bytes.recent += b.Size()
	for d.bytes.recent > maxRecent {
		oldest := d.order[0]
		d.order = d.order[1:]
		d.bytes.recent -= d.recent[oldest].Size()
		delete(d.recent, oldest)
	}
}
