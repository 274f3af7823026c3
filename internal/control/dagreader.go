package control

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/car"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/ipfs/go-cid"
)

// streamBuffer is the buffer for a DAG's stream, in bytes.
const streamBuffer = 256 << 10

// A remoteReader reads a DAG from a daemon, in one stream. Each block is
// verified.
type remoteReader struct {
	*ipld.DAGReader
	cancel context.CancelFunc
	body   io.Closer // nil if there is no stream
}

var _ DAGReader = (*remoteReader)(nil)

// readDAG begins to read the DAG below root, of which the daemon has to have
// every block. The reader reads with ctx until it is closed.
func (t *Target) readDAG(ctx context.Context, root cid.Cid) (*remoteReader, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &remoteReader{cancel: cancel}
	next, err := r.begin(ctx, t.daemon, root)
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	r.DAGReader = ipld.NewDAGReader(next, t)
	return r, nil
}

// begin returns the function that reads the stream's next block; nil if there is
// no stream.
func (r *remoteReader) begin(ctx context.Context, d *daemon, root cid.Cid) (next func() (block.Block, error), err error) {
	export, err := newRequest(d, ExportCAR.Path, httpapi.AnyClient, nil, RootArgs{root})
	if err != nil {
		return nil, err
	}
	resp, err := d.send(ctx, export)
	var answer *Error
	if errors.As(err, &answer) {
		return nil, nil // Get says what is wrong with the block
	}
	if err != nil {
		return nil, err
	}
	r.body = resp.Body
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if err != nil && err != io.EOF {
			err = d.cut(ctx, err)
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
func (r *remoteReader) Close() error {
	r.cancel()
	if r.body != nil {
		// An error here loses nothing that was read.
		_ = r.body.Close()
	}
	return nil
}
