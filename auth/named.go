package auth

// Named returns a grant in force that has the name, or false if there is none. Where several have it, they are those of
// one entry of a tokens file and give the same rights, or the operator gave two tokens one name: then it is any of them.
// It is for instances of one hub, which tell each other whose client they speak of without telling the token.
func (s *Store) Named(name string) (*Grant, bool) {
	t := s.tokens.Load()
	for i := range t.Len() {
		if t.grants[i].Name == name {
			return t.grants[i], true
		}
	}
	return nil, false
}
