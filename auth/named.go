package auth

// Named returns a grant in force that has the name, or false if there is none. Several have one name if they are of one
// entry of a tokens file, with the same rights, or if the operator named two tokens alike: then it is any of them.
// Instances of one hub use it: they name a client's token to each other and never send the token.
func (s *Store) Named(name string) (*Grant, bool) {
	t := s.tokens.Load()
	for i := range t.Len() {
		if t.grants[i].Name == name {
			return t.grants[i], true
		}
	}
	return nil, false
}
