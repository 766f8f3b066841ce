// Package rtm has the frames of the team-connection protocol, for both of its ends: [Parse] reads a frame,
// [Frame.Append] writes one.
//
// The protocol has one Global connection and one Team connection per team, both WebSockets with a JSON object in each
// text message. → is sent by the client, ← by the server.
//
//	Global  ← {"type":"hello"}
//	        ← {"type":"team.join","team_id":1}
//	        → {"type":"team.connect","team_id":1}
//	        ← {"type":"team.connect","team_id":1,"ws_url":"http://localhost:8080/connect/to/team"}
//	        ← {"type":"error","message":"…","received_message":{…},"team_id":1}
//	        ← {"type":"healthcheck"}
//	        → {"type":"healthcheck","stats":[{"id":1,"connected":true,"message_count":100,"props_count":10}]}
//	        ← {"type":"team.left","team_id":1}
//	        ← {"type":"goodbye"}
//
//	Team    ← {"type":"hello"}
//	        ← {"type":"message","text":"…"}
//	        → {"type":"ping","unique_id":7}
//	        ← {"type":"pong","unique_id":7}
//	        ← {"type":"team.left"}
//
// A team's id is a JSON integer or string, and keeps its form: see [ID].
//
// The package has no state; all functions are safe for concurrent use.
package rtm
