package unixfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// MaxDepth is how deeply directories may lie in one another, on the way in
// and on the way out: deeper than any real tree, and few enough that a tree
// made to hurt does not use up file descriptors.
const MaxDepth = 256

// A walker cuts an import's input into steps. It has one goroutine.
type walker struct {
	pipeline *pipeline
	options  Options
	filter   *filter
	current  *step
	// entering are the directories that have begun and hold nothing yet that
	// is included; only where Include is set.
	pendingDirs []op
	depth       int
}

// run walks, and wraps what is walked into a directory if that is wished.
func (w *walker) run(walk func(*walker) error) error {
	if w.options.Wrap != "" {
		if err := w.emit(op{kind: opBeginDir, path: "."}); err != nil {
			return err
		}
	}
	err := walk(w)
	if err == nil && w.options.Wrap != "" {
		err = w.emit(op{kind: opEndDir, path: "."})
	}
	// What came before an error is sent all the same: its operations hold
	// directories open.
	w.flush()
	return err
}

// emit adds an operation to the current step. The operation's references are
// dropped if it cannot be sent.
func (w *walker) emit(o op) error {
	if len(w.pendingDirs) > 0 {
		entering := w.pendingDirs
		w.pendingDirs = nil
		for _, e := range entering {
			if err := w.emit(e); err != nil {
				o.run(w.pipeline.ctx, w.pipeline.pool)
				o.release()
				return err
			}
		}
	}
	if w.current != nil && (len(w.current.ops) == stepOps || w.current.bytes+o.size > w.options.Profile.ChunkSize) {
		w.flush()
	}
	if w.current == nil {
		if !w.pipeline.acquire() {
			o.run(w.pipeline.ctx, w.pipeline.pool)
			o.release()
			return context.Cause(w.pipeline.ctx)
		}
		w.current = &step{done: make(chan struct{})}
	}
	w.current.ops = append(w.current.ops, o)
	w.current.bytes += o.size
	return nil
}

func (w *walker) flush() {
	if w.current != nil {
		w.pipeline.send(w.current)
		w.current = nil
	}
}

// enter and leave stand around what is in a directory. One that turns out to
// hold nothing that is included is left out, but for the root.
func (w *walker) beginDir(path string, info fs.FileInfo) error {
	o := op{kind: opBeginDir, path: path, state: w.newState(info)}
	if w.filter.including() && w.filter.included < 0 && w.depth > 1 {
		w.pendingDirs = append(w.pendingDirs, o)
		return nil
	}
	if r := w.options.StatCache; r != nil {
		known, _, err := r.Lookup(w.pipeline.ctx, dirPath(path), FileStat{})
		if err != nil {
			return addPath(path, err)
		}
		o.cached = known
	}
	return w.emit(o)
}

func (w *walker) endDir(path string) error {
	if last := len(w.pendingDirs) - 1; last >= 0 {
		w.pendingDirs = w.pendingDirs[:last]
		return nil
	}
	return w.emit(op{kind: opEndDir, path: path})
}

// directory walks d, which it releases.
func (w *walker) walkDir(d *openDir, path string, info fs.FileInfo) error {
	defer d.release()
	if w.depth == MaxDepth {
		return fmt.Errorf("%s: directories lie more than %d deep", path, MaxDepth)
	}
	w.depth++
	defer func() { w.depth-- }()
	// Before anything in it is looked at: what is as fresh as that may change
	// again without a trace.
	now := time.Now()
	entries, err := d.source.entries()
	if err != nil {
		return addPath(path, err)
	}
	if entries, err = sortEntries(entries); err != nil {
		return addPath(path, err)
	}
	leave, err := w.filter.enter(d.source, entries)
	if err != nil {
		return addPath(path, err)
	}
	defer leave()
	if err := w.beginDir(path, info); err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(w.pipeline.ctx); err != nil {
			return err
		}
		if w.options.SkipHidden && strings.HasPrefix(e.Name(), ".") || !w.filter.accepts(e) {
			continue
		}
		if err := checkName(e.Name()); err != nil {
			return addPath(path, err)
		}
		w.filter.push(e)
		err := w.walkEntry(d, e, joinPath(path, e.Name()), now)
		w.filter.pop()
		if err != nil {
			return err
		}
	}
	return w.endDir(path)
}

// inOrder returns entries sorted by name, each name once. They mostly are.
func sortEntries(entries []fs.DirEntry) ([]fs.DirEntry, error) {
	byName := func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) }
	if !slices.IsSortedFunc(entries, byName) {
		entries = slices.SortedFunc(slices.Values(entries), byName)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].Name() == entries[i-1].Name() {
			return nil, fmt.Errorf("two entries named %q", entries[i].Name())
		}
	}
	return entries, nil
}

// join is path.Join for an entry whose name is clean.
func joinPath(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// entry walks one entry of d, which was listed not before now.
func (w *walker) walkEntry(d *openDir, e fs.DirEntry, path string, now time.Time) error {
	name := e.Name()
	switch e.Type() {
	case fs.ModeDir:
		var info fs.FileInfo
		if w.options.keepsAttributes() {
			var err error
			if info, err = e.Info(); err != nil {
				return addPath(path, err)
			}
		}
		sub, err := d.source.sub(name)
		if err != nil {
			return addPath(path, err)
		}
		return w.walkDir(newOpenDir(sub), path, info)
	case fs.ModeSymlink:
		return w.emit(op{kind: opSymlink, name: name, path: path, dir: d.retain()})
	case 0:
		info, err := e.Info()
		if err != nil {
			return addPath(path, err)
		}
		return w.walkFile(d, name, path, info, now)
	}
	return fmt.Errorf("%s: a %s can't be imported, only files, directories and symlinks", path, describeKind(e.Type()))
}

// about notes what an import keeps in mind of a file or directory.
func (w *walker) newState(info fs.FileInfo) *fileState {
	if info == nil {
		return nil
	}
	a := &fileState{stat: newFileStat(info)}
	if w.options.KeepMode {
		a.attributes.mode = unixMode(info.Mode())
	}
	if w.options.KeepTimes {
		a.attributes.modified = info.ModTime()
	}
	return a
}

// kindOf says what sort of special file it is.
func describeKind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// file walks a file of d.
func (w *walker) walkFile(d *openDir, name, path string, info fs.FileInfo, now time.Time) error {
	a := w.newState(info)
	if r := w.options.StatCache; r != nil {
		known, ok, err := r.Lookup(w.pipeline.ctx, path, a.stat)
		if err != nil {
			return addPath(path, err)
		}
		if ok {
			return w.emit(op{kind: opCached, path: path, cached: known})
		}
		a.racy = !a.stat.settled(now)
	}
	size := info.Size()
	if size <= w.options.Profile.singleChunkSize() {
		return w.emit(op{kind: opFile, name: name, path: path, dir: d.retain(), size: int(size), state: a})
	}
	f, err := d.source.open(name)
	if err != nil {
		return addPath(path, err)
	}
	if at, ok := f.(io.ReaderAt); ok && w.options.Profile.Chunker == Fixed {
		shared := newSharedReader(at, f)
		defer shared.release()
		return w.cutChunks(shared, 0, size, a, path)
	}
	defer f.Close()
	return w.cutSerially(&sizedReader{r: f, left: size, state: a}, a, path)
}

// fileAt cuts a file given by the caller of Import.
func (w *walker) cutReaderAt(at io.ReaderAt, start, size int64) error {
	if size > 0 && w.options.Profile.Chunker == Fixed {
		shared := newSharedReader(at, nil)
		defer shared.release()
		return w.cutChunks(shared, start, size, nil, w.rootPath())
	}
	return w.cutStream(io.NewSectionReader(at, start, size))
}

// stream cuts what a reader of unknown length gives.
func (w *walker) cutStream(r io.Reader) error { return w.cutSerially(r, nil, w.rootPath()) }

// rootPath is where in the result lies what is imported.
func (w *walker) rootPath() string {
	if w.options.Wrap != "" {
		return w.options.Wrap
	}
	return "."
}

// chunks cuts what can be read at any place: workers read it. What a file
// system told of (a) is looked at once more in the end.
func (w *walker) cutChunks(r *sharedReader, start, size int64, a *fileState, path string) error {
	chunk := int64(w.options.Profile.ChunkSize)
	for offset := int64(0); offset < size; offset += chunk {
		n := min(chunk, size-offset)
		o := op{kind: opChunk, path: path, state: a, at: r.retain(), offset: start + offset, size: int(n), probe: a != nil && offset+n == size}
		if err := w.emit(o); err != nil {
			return err
		}
	}
	end := op{kind: opFileEnd, path: path, state: a}
	if a != nil {
		end.at = r.retain()
	}
	return w.emit(end)
}

// serial cuts what must be read from front to back.
func (w *walker) cutSerially(r io.Reader, a *fileState, path string) error {
	c := newCutter(r, w.pipeline.pool)
	for first := true; ; first = false {
		// Memory counts from the moment of reading.
		w.flush()
		if !w.pipeline.acquire() {
			return context.Cause(w.pipeline.ctx)
		}
		leaf, err := c.next()
		if errors.Is(err, io.EOF) && !first {
			w.pipeline.release()
			return w.emit(op{kind: opFileEnd, path: path, state: a})
		}
		if err != nil && !errors.Is(err, io.EOF) {
			w.pipeline.release()
			return addPath(path, err)
		}
		w.current = &step{done: make(chan struct{})}
		if err := w.emit(op{kind: opChunk, path: path, state: a, leaf: leaf, size: leaf.size, filled: true}); err != nil {
			return err
		}
	}
}

// An exactReader fails unless r ends after left bytes, and is then what it was
// when it was seen.
type sizedReader struct {
	r     fs.File
	left  int64
	state *fileState
}

func (e *sizedReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		if err := probeEnd(e.r); err != nil {
			return 0, err
		}
		if err := e.state.checkUnchanged(e.r); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = errShrank
	}
	if err == io.EOF {
		err = nil // the next Read probes
	}
	return n, err
}
