"""Zhang and Gouza (2018): genetic-evolutionary Adam."""
