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

// MaxDepth bounds the nesting of directories in an import and an export: deeper
// than any real tree, and few enough that a hostile tree does not exhaust file
// descriptors.
const MaxDepth = 256

// A walker cuts an import's input into steps. It has one goroutine.
type walker struct {
	pipeline *pipeline
	options  Options
	filter   *filter
	current  *step
	// pendingDirs are the open directories without an included item so far; only
	// if Include is set.
	pendingDirs []op
	depth       int
}

// run walks, and wraps the result into a directory if Wrap is set.
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
	// Also after an error, the step must be sent: its operations hold
	// directories open.
	w.flush()
	return err
}

// emit adds an operation to the current step. If it fails, it releases the
// operation.
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

// beginDir and endDir enclose the contents of a directory. They skip one without
// included items, except the root.
func (w *walker) beginDir(path string, info fs.FileInfo) error {
	o := op{kind: opBeginDir, path: path, state: w.newState(info)}
	if w.filter.including() && w.filter.included < 0 && w.depth > 1 {
		w.pendingDirs = append(w.pendingDirs, o)
		return nil
	}
	if r := w.options.StatCache; r != nil {
		cached, _, err := r.Lookup(w.pipeline.ctx, dirPath(path), FileStat{})
		if err != nil {
			return wrapPath(path, err)
		}
		o.cached = cached
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

// walkDir walks d, and releases it.
func (w *walker) walkDir(d *openDir, path string, info fs.FileInfo) error {
	defer d.release()
	if w.depth == MaxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", path, MaxDepth)
	}
	w.depth++
	defer func() { w.depth-- }()
	// The time before the first stat: a file as new as that may change again
	// with the same times.
	now := time.Now()
	entries, err := d.source.entries()
	if err != nil {
		return wrapPath(path, err)
	}
	if entries, err = sortEntries(entries); err != nil {
		return wrapPath(path, err)
	}
	leave, err := w.filter.enter(d.source, entries)
	if err != nil {
		return wrapPath(path, err)
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
			return wrapPath(path, err)
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

// sortEntries returns the entries sorted by name; mostly they are already. It
// fails for a repeated name.
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

// joinPath is path.Join for an entry whose name is clean.
func joinPath(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// walkEntry walks one entry of d, which was listed after now.
func (w *walker) walkEntry(d *openDir, e fs.DirEntry, path string, now time.Time) error {
	name := e.Name()
	switch e.Type() {
	case fs.ModeDir:
		var info fs.FileInfo
		if w.options.keepsAttributes() {
			var err error
			if info, err = e.Info(); err != nil {
				return wrapPath(path, err)
			}
		}
		sub, err := d.source.sub(name)
		if err != nil {
			return wrapPath(path, err)
		}
		return w.walkDir(newOpenDir(sub), path, info)
	case fs.ModeSymlink:
		return w.emit(op{kind: opSymlink, name: name, path: path, dir: d.retain()})
	case 0:
		info, err := e.Info()
		if err != nil {
			return wrapPath(path, err)
		}
		return w.walkFile(d, name, path, info, now)
	}
	return fmt.Errorf("%s: a %s can't be imported, only files, directories and symlinks", path, describeKind(e.Type()))
}

// newState returns the state of a file or directory; nil without a FileInfo.
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

// describeKind returns the kind of a special file.
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

// walkFile walks a file of d.
func (w *walker) walkFile(d *openDir, name, path string, info fs.FileInfo, now time.Time) error {
	a := w.newState(info)
	if r := w.options.StatCache; r != nil {
		cached, ok, err := r.Lookup(w.pipeline.ctx, path, a.stat)
		if err != nil {
			return wrapPath(path, err)
		}
		if ok {
			return w.emit(op{kind: opCached, path: path, cached: cached})
		}
		a.racy = !a.stat.settled(now)
	}
	size := info.Size()
	if size <= w.options.Profile.singleChunkSize() {
		return w.emit(op{kind: opFile, name: name, path: path, dir: d.retain(), size: int(size), state: a})
	}
	f, err := d.source.open(name)
	if err != nil {
		return wrapPath(path, err)
	}
	if at, ok := f.(io.ReaderAt); ok && w.options.Profile.Chunker == Fixed {
		shared := newSharedReader(at, f)
		defer shared.release()
		return w.cutChunks(shared, 0, size, a, path)
	}
	defer f.Close()
	return w.cutSerially(&sizedReader{r: f, left: size, state: a}, a, path)
}

// cutReaderAt cuts the reader of Import.
func (w *walker) cutReaderAt(at io.ReaderAt, start, size int64) error {
	if size > 0 && w.options.Profile.Chunker == Fixed {
		shared := newSharedReader(at, nil)
		defer shared.release()
		return w.cutChunks(shared, start, size, nil, w.rootPath())
	}
	return w.cutStream(io.NewSectionReader(at, start, size))
}

// cutStream cuts a reader of unknown length.
func (w *walker) cutStream(r io.Reader) error { return w.cutSerially(r, nil, w.rootPath()) }

// rootPath returns the path of the imported item in the result.
func (w *walker) rootPath() string {
	if w.options.Wrap != "" {
		return w.options.Wrap
	}
	return "."
}

// cutChunks cuts a file that workers read at any offset. If it has a state, that
// is checked once more at the end.
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

// cutSerially cuts a file that must be read from front to back.
func (w *walker) cutSerially(r io.Reader, a *fileState, path string) error {
	c := newCutter(r, w.pipeline.pool)
	for first := true; ; first = false {
		// A leaf takes its place in the window before it is read.
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
			return wrapPath(path, err)
		}
		w.current = &step{done: make(chan struct{})}
		if err := w.emit(op{kind: opChunk, path: path, state: a, leaf: leaf, size: leaf.size, filled: true}); err != nil {
			return err
		}
	}
}

// A sizedReader fails unless r ends after left bytes with its state unchanged.
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
		err = nil // the next Read checks the end
	}
	return n, err
}
