package unixfs

import "io"

// WriteRange writes at most length bytes to w, from offset on. A negative length
// means to the end. It returns the number of bytes written.
func (f *File) WriteRange(w io.Writer, offset, length int64) (int64, error) {
	if offset > f.Size() || length == 0 {
		return 0, nil
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return 0, err
		}
	}
	if length < 0 {
		return f.WriteTo(w)
	}
	n, err := io.CopyN(w, f, length)
	if err == io.EOF {
		err = nil // the file ends before
	}
	return n, err
}
