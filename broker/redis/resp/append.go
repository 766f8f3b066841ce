package resp

import "strconv"

// AppendBulkHeader appends the header of a bulk string of n bytes.
func AppendBulkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, '$'), int64(n), 10), "\r\n"...)
}

// AppendCommand appends the command name with args.
func AppendCommand(dst []byte, name string, args []string) []byte {
	dst = append(strconv.AppendInt(append(dst, '*'), int64(1+len(args)), 10), "\r\n"...)
	dst = append(append(AppendBulkHeader(dst, len(name)), name...), "\r\n"...)
	for _, a := range args {
		dst = append(append(AppendBulkHeader(dst, len(a)), a...), "\r\n"...)
	}
	return dst
}
