package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/ipfs/go-cid"
)

// streamBuffer is how much of the stream is read at once, in bytes.
const streamBuffer = 256 << 10

// A DAGReader reads a DAG from the daemon, in one stream. Each block is verified.
// It has to be closed.
type DAGReader struct {
	*ipld.DAGReader
	cancel context.CancelFunc
	body   io.Closer // nil if there is no stream
}

// DAG begins to read the DAG below root, of which each block has to be at the
// daemon. It reads with ctx until it's closed.
func (c *Client) DAG(ctx context.Context, root cid.Cid) (*DAGReader, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &DAGReader{cancel: cancel}
	next, err := d.begin(ctx, c, root)
	if err != nil {
		d.Close()
		return nil, err
	}
	d.DAGReader = ipld.NewDAGReader(next, c)
	return d, nil
}

func (d *DAGReader) begin(ctx context.Context, c *Client, root cid.Cid) (next func() (block.Block, error), err error) {
	resp, err := c.do(ctx, ourVerb("dag/export", root.String()))
	var answer *Error
	if errors.As(err, &answer) {
		return nil, nil // Get says what is wrong with the block
	}
	if err != nil {
		return nil, err
	}
	d.body = resp.Body
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if err != nil && err != io.EOF {
			err = c.cut(ctx, err)
		}
		return n, err
	})
	// Where the daemon could not go on, Get says what is wrong with the block that
	// is wanted, which need not be the one that stopped the stream.
	in, err := car.NewReader(bufio.NewReaderSize(body, streamBuffer))
	if err != nil && trailerError(resp.Trailer) != nil {
		return nil, nil
	}
	return func() (block.Block, error) {
		b, err := in.Next()
		if err != nil && trailerError(resp.Trailer) != nil {
			err = io.EOF
		}
		return b, err
	}, err
}

// Close ends the stream.
func (d *DAGReader) Close() {
	d.cancel()
	if d.body != nil {
		// An error here loses nothing that was read.
		_ = d.body.Close()
	}
}
