"""Where does the work run? One ordered map over chunks."""
